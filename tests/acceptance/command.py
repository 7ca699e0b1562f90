"""The legacy command as real processes."""

import os
import pwd
import re
import signal
import smtplib
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.relay import BIN, HANG, ROOT, Sink, free_port, until

ME = pwd.getpwuid(os.geteuid()).pw_name
GRAMMAR = re.compile(
    r"emailrelay: ([0-9]{8}\.[0-9]{6}\.[0-9]{3}: )?(info|warning|error): ([0-9.]+;[0-9]+: )?\S.*"
)


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


@dataclass(slots=True)
class Daemon:
    """A daemon, identified by its pid file."""

    pid: int
    pid_file: Path
    log_file: Path
    port: int

    @property
    def alive(self) -> bool:
        return _alive(self.pid)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> None:
        self.send(signal.SIGTERM)
        until(lambda: not self.alive, "the daemon ends")

    def child(self, service: str) -> int:
        """Wait for the child that runs a service; give its process id."""
        return until(lambda: self._child(service), f"{service} runs")

    def children(self) -> list[int]:
        with suppress(OSError):
            words = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            return [int(word) for word in words]
        return []

    def log(self) -> str:
        return self.log_file.read_text()

    def hear(self, text: str, times: int = 1) -> None:
        until(lambda: self.log().count(text) >= times, f"{text!r} in the log")

    def submit(self, sender: str = "a@x.net", to: str = "b@y.net") -> None:
        """Send a message; a refusal raises the exception of smtplib."""
        with smtplib.SMTP("127.0.0.1", self.port, "client.test", HANG) as client:
            client.sendmail(sender, [to], b"Subject: test\r\nX-Test-Id: 1\r\n\r\nhello\r\n")

    def _child(self, service: str) -> int:
        for child in self.children():
            with suppress(OSError):
                if f"emailrelay_{service}\0" in Path(f"/proc/{child}/cmdline").read_text():
                    return child
        return 0


@dataclass(slots=True)
class Command:
    """Runs ``emailrelay`` around one spool. ``user`` None leaves --user away."""

    directory: Path
    user: str | None = ME
    program: Sequence[str] = (str(BIN / "emailrelay"),)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    daemons: list[Daemon] = field(default_factory=list[Daemon])

    @property
    def spool(self) -> Path:
        return self.directory / "spool"

    def run(self, *arguments: str) -> Ended:
        """Run to the end (the parent's, if there is a daemon)."""
        user = ("--user", self.user) if self.user is not None else ()
        ended = subprocess.run(
            [*self.program, *arguments, "--spool-dir", str(self.spool), *user],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=HANG,
            text=True,
            env=self.environment,
            cwd="/",
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def daemon(self, *arguments: str) -> Daemon:
        """Start a daemon on a free port; it must print nothing."""
        number, port = len(self.daemons), free_port()
        pid_file, log_file = self.directory / f"{number}.pid", self.directory / f"{number}.log"
        where = ("--interface", "127.0.0.1", "--port", str(port)) if _serves(arguments) else ()
        files = ("--pid-file", str(pid_file), "--log-file", str(log_file))
        ended = self.run(*arguments, *where, *files)
        assert ended == Ended(0, "", "")
        daemon = Daemon(int(pid_file.read_text()), pid_file, log_file, port)
        self.daemons.append(daemon)
        return daemon

    def waiting(self) -> list[str]:
        return sorted(e.name for e in self.spool.iterdir() if not e.name.startswith("."))

    def clear_away(self) -> None:
        for daemon in self.daemons:
            children = daemon.children()
            with suppress(ProcessLookupError):
                daemon.send(signal.SIGKILL)
            _all_gone(children)
            sys.stdout.write(f"--- {daemon.log_file.name}\n{daemon.log()[-3000:]}\n")


def connect_as(port: int, user: int) -> socket.socket:
    """Connect to a port of this machine as another user, which takes root."""
    os.seteuid(user)
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=HANG)
    finally:
        os.seteuid(0)


def ask(port: int, *lines: str, user: int | None = None) -> list[str]:
    """Give the answers of the administration interface, each without its prompt."""
    answers: list[str] = []
    with (
        socket.create_connection(("127.0.0.1", port), timeout=HANG)
        if user is None
        else connect_as(port, user)
    ) as connection:
        for line in lines:
            connection.sendall(line.encode() + b"\r\n")
            answers.append(_answer(connection))
    return answers


def _answer(connection: socket.socket) -> str:
    octets = b""
    while not octets.endswith(b"E-MailRelay> "):
        more = connection.recv(4096)
        if not more:
            return f"{octets.decode()}<closed>"
        octets += more
    return octets.decode().removesuffix("E-MailRelay> ").replace("\r\n", "\n").strip()


def _serves(arguments: Sequence[str]) -> bool:
    return not {"--no-smtp", "--dont-serve"} & set(arguments)


def _all_gone(pids: Sequence[int]) -> None:
    until(lambda: not any(map(_alive, pids)), "no child is left")


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def recording_sink(directory: Path) -> Sink:
    """Make a smarthost, not started yet."""
    return Sink("sink", directory, free_port(), ())


SYSTEM_PYTHON = Path("/usr/bin", f"python{sysconfig.get_python_version()}")
"""The Python for all users, if there is one of the release for which our packages are installed."""
CODE = [ROOT / "shared", *(ROOT / "services").iterdir(), Path(sysconfig.get_path("purelib"))]
"""The directories in which Python finds the product and its dependencies."""


def runs_for_everybody() -> bool:
    """Return whether an ordinary user can run this Python: only root can read root's directory."""
    return open_to_all(Path(sys.executable).resolve())


def open_to_all(path: Path) -> bool:
    """Tell whether every user can reach this path."""
    return all(parent.stat().st_mode & 0o001 for parent in path.parents)


def others_can_run_it() -> bool:
    """Tell whether other users can run this checkout with the system's Python."""
    return SYSTEM_PYTHON.exists() and all(open_to_all(place / "any") for place in CODE)


def script(path: Path, body: str) -> str:
    """Write a program for the shell; return its path."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)
