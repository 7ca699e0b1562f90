"""The servers that are measured, each started for one run and taken away afterwards."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BIN = Path(sys.executable).parent
_PATIENCE = 30.0


class Peer(Protocol):
    """A relay under test: takes mail at ``port`` and sends it to the sink."""

    name: str
    port: int

    def start(self) -> None:
        """Start it and wait until it greets."""

    def stop(self) -> None:
        """Stop it; nothing of it is left running."""

    def pids(self) -> list[int]:
        """Give its processes."""
        ...

    def queued(self) -> bool:
        """Tell whether any message is left in its queue."""
        ...


@dataclass(slots=True)
class Ours:
    """The three services of this product as their commands."""

    directory: Path
    sink: int
    ack: str = "stored"
    workers: int = 1
    filter: str = ""
    name: str = "ours"
    port: int = 3526
    _running: list[subprocess.Popen[bytes]] | None = None

    def start(self) -> None:
        spool = self.directory / "spool"
        shutil.rmtree(spool, ignore_errors=True)
        filters = ["--filter", self.filter] if self.filter else []
        common = ["--spool-dir", str(spool), "--workers", str(self.workers)]
        listen = ["--interface", "127.0.0.1", "--port", str(self.port), "--ack", self.ack]
        commands = [
            ["receiver", *listen, *filters],
            ["forwarder", "--forward-to", f"127.0.0.1:{self.sink}"],
        ]
        if filters:
            commands.append(["filterd", *filters])
        log = (self.directory / "ours.log").open("wb")
        self._running = [
            subprocess.Popen(
                [str(BIN / f"emailrelay-{service}"), *rest, *common, "--log-format", "json"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            for service, *rest in commands
        ]
        greeted(self.port)

    def stop(self) -> None:
        for process in self._running or []:
            process.send_signal(signal.SIGTERM)
        for process in self._running or []:
            process.wait(_PATIENCE)

    def pids(self) -> list[int]:
        parents = [process.pid for process in self._running or []]
        return parents + [child for pid in parents for child in _children(pid)]

    def queued(self) -> bool:
        with os.scandir(self.directory / "spool") as entries:
            return any(".envelope" in entry.name for entry in entries)


_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.invalid
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
smtp_host_lookup = native
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
maximal_queue_lifetime = 1d
"""


@dataclass(slots=True)
class Postfix:
    """Postfix as Debian configures it, in a directory of its own, relaying to the sink."""

    directory: Path
    sink: int
    name: str = "postfix"
    port: int = 3525

    def start(self) -> None:
        home = self.directory / "postfix"
        shutil.rmtree(home, ignore_errors=True)
        owner = pwd.getpwnam("postfix")
        for name in ("conf", "queue", "data"):
            (home / name).mkdir(parents=True)
        os.chown(home / "data", owner.pw_uid, owner.pw_gid)
        conf = home / "conf"
        (conf / "main.cf").write_text(_MAIN_CF.format(directory=home, sink=self.sink))
        (conf / "master.cf").write_text(_master(self.port))
        self._command("start")
        greeted(self.port)

    def _command(self, word: str) -> None:
        command = ["/usr/sbin/postfix", "-c", str(self.directory / "postfix" / "conf"), word]
        subprocess.run(command, check=word == "start", capture_output=True)

    def stop(self) -> None:
        self._command("stop")

    def pids(self) -> list[int]:
        master = self.directory / "postfix" / "queue" / "pid" / "master.pid"
        pid = int(master.read_text())
        return [pid, *_children(pid)]

    def queued(self) -> bool:
        queue = self.directory / "postfix" / "queue"
        found = (
            path
            for name in ("incoming", "active", "deferred")
            for path in (queue / name).rglob("*")
        )
        return any(path.is_file() for path in found)


def _master(port: int) -> str:
    """Debian's master.cf without chroot, with its SMTP service at our port."""
    lines = Path("/etc/postfix/master.cf").read_text().splitlines()
    return "\n".join(_entry(line, port) for line in lines) + "\n"


def _entry(line: str, port: int) -> str:
    fields = line.split()
    if len(fields) < 8 or line.startswith(("#", " ", "\t")):
        return line
    fields[4] = "n"
    if fields[:2] == ["smtp", "inet"]:
        fields[0] = f"127.0.0.1:{port}"
    return " ".join(fields)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(child) for child in found]
    return []


def greeted(port: int) -> None:
    """Wait until a server on the port says its greeting."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                if client.recv(64).startswith(b"220"):
                    client.sendall(b"QUIT\r\n")
                    return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@contextlib.contextmanager
def sink(port: int, delay: int = 0) -> Iterator[None]:
    """Run smtp-sink, which takes everything and counts."""
    slow = ["-w", str(delay)] if delay else []
    command = ["/usr/sbin/smtp-sink", "-u", "nobody", *slow, f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        greeted(port)
        yield
    finally:
        process.kill()
        process.wait()
