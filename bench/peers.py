"""The servers that are measured, each started for one run and removed afterwards."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench import machine
from bench.case import Bench, Durability
from bench.sinks import free_port, greeted

_PATIENCE = 60.0
_NOBODY = 1
"""A port of the loopback without a listener: the smarthost is away."""


class Peer(Protocol):
    """A running relay that accepts mail at ``port``."""

    port: int

    def pids(self) -> Sequence[int]:
        """Return the processes that were started; all others descend from them."""
        ...


@dataclass(slots=True)
class Ours:
    """The services of this product, as their commands."""

    port: int
    spool: Path
    processes: dict[str, subprocess.Popen[bytes]]

    def pids(self) -> Sequence[int]:
        return [process.pid for process in self.processes.values()]


@contextlib.contextmanager
def ours(
    bench: Bench,
    *,
    forward_to: int | None = _NOBODY,
    receiver: Sequence[str] | None = (),
    forwarder: Sequence[str] = (),
    filters: Sequence[str] = (),
    workers: int = 1,
    spool: Path | None = None,
    wrapper: Sequence[str] = (),
    patience: float = _PATIENCE,
) -> Generator[Ours]:
    """Run our services with their defaults, on an empty spool unless one is named.

    ``receiver`` None runs none, ``forward_to`` None runs no forwarder. ``wrapper`` is put in front
    of each command. ``patience``: the seconds for the start.
    """
    port = free_port()
    if spool is None:
        shutil.rmtree(spool := bench.directory / "spool", ignore_errors=True)
    common = ["--spool-dir", str(spool), "--workers", str(workers), "--log-format", "json"]
    chain = [word for spec in filters for word in ("--filter", spec)]
    commands: dict[str, list[str]] = {}
    if receiver is not None:
        listen = ["--interface", "127.0.0.1", "--port", str(port)]
        log_first = bench.durability is Durability.LOG
        listen += ["--spool-sync", "log"] if log_first else []
        commands["receiver"] = [*listen, *chain, *receiver]
    if filters:
        commands["filterd"] = chain
    if forward_to is not None:
        commands["forwarder"] = ["--forward-to", f"127.0.0.1:{forward_to}", *forwarder]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for service, options in commands.items():
            command = [*wrapper, str(bench.commands / f"emailrelay-{service}"), *options, *common]
            with (bench.directory / f"{service}.log").open("wb") as log:
                processes[service] = subprocess.Popen(
                    command, stdout=log, stderr=log, start_new_session=True
                )
        if receiver is not None:
            greeted(port, patience)
        yield Ours(port, spool, processes)
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            _ended(process)


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise


_MAIN_CF = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = bench.invalid
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{forward_to}
smtp_dns_support_level = disabled
smtp_host_lookup = native
maillog_file = {home}/maillog
maillog_file_prefixes = {home}
message_size_limit = 104857600
"""


HELD = """
smtpd_recipient_restrictions = static:HOLD, permit_mynetworks, reject_unauth_destination
"""
"""For main.cf: everything is taken and set aside, nothing is forwarded."""
_FILTER_USER = "daemon"
_FILTER_ENTRY = f"""
filter unix - n n - 10 pipe
  flags=Rq user={_FILTER_USER} null_sender=
  argv=/bin/sh {{home}}/filter/run -f ${{{{sender}}}} -- ${{{{recipient}}}}
"""
"""For master.cf, with the script below: the simple content filter of Postfix's FILTER_README."""
_FILTER_SCRIPT = """
cd {home}/filter || exit 75
trap "rm -f in.$$" 0 1 2 3 15
cat >in.$$ || exit 75
{program} in.$$ || exit 69
MAIL_CONFIG=/etc/postfix /usr/sbin/sendmail -G -i "$@" <in.$$
"""
UNSYNCED = """
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C
    LD_PRELOAD=/usr/lib/x86_64-linux-gnu/libeatmydata.so
"""
"""For main.cf: Postfix makes no sync (Debian's eatmydata). So it fills a queue fast, and is then
measured without this."""


@dataclass(slots=True)
class Postfix:
    """Postfix as Debian configures it, in a directory of its own."""

    port: int
    home: Path

    def pids(self) -> Sequence[int]:
        return [int((self.home / "queue" / "pid" / "master.pid").read_text())]

    def command(self, word: str, wrapper: Sequence[str] = ()) -> None:
        """Run a command of postfix(1); ``wrapper`` is put in front of it."""
        command = [*wrapper, "/usr/sbin/postfix", "-c", str(self.home / "conf"), word]
        subprocess.run(command, check=True, capture_output=True)


@contextlib.contextmanager
def postfix(
    bench: Bench,
    *,
    forward_to: int = _NOBODY,
    more: str = "",
    keep: bool = False,
    program: str = "",
) -> Generator[Postfix]:
    """Run Postfix with its defaults.

    ``more`` is added to main.cf. ``keep`` takes the queue over that the last one left. Each message
    is an argument of ``program``, if there is one, and sendmail brings it back.
    """
    home, port = bench.directory / "postfix", free_port()
    if not keep:
        shutil.rmtree(home, ignore_errors=True)
    _configure(home, _MAIN_CF.format(home=home, forward_to=forward_to) + more, port)
    server = Postfix(port, home)
    if program:
        _filter_with(home, program)
    # Its sendmail, run by another user, reads no other directory than the usual one.
    own = f'mount --bind {home}/conf /etc/postfix && exec "$@"'
    server.command("start", ["unshare", "--mount", "sh", "-c", own, "sh"] if program else ())
    try:
        greeted(port)
        yield server
    finally:
        # "stop" ends all processes at once; it returns before they have ended.
        master = server.pids()
        everybody = machine.tree(master)
        server.command("stop")
        _gone(everybody)


def _configure(home: Path, main: str, port: int) -> None:
    owner = pwd.getpwnam("postfix")
    for name in ("conf", "queue", "data"):
        (home / name).mkdir(parents=True, exist_ok=True)
    os.chown(home / "data", owner.pw_uid, owner.pw_gid)
    (home / "conf" / "main.cf").write_text(main)
    lines = Path("/usr/share/postfix/master.cf.dist").read_text().splitlines()
    (home / "conf" / "master.cf").write_text("".join(f"{entry(line, port)}\n" for line in lines))


def entry(line: str, port: int) -> str:
    """Give a line of Debian's master.cf without chroot, the SMTP service at our port."""
    fields = line.split()
    if len(fields) < 8 or line.startswith(("#", " ", "\t")):
        return line
    fields[4] = "n"
    if fields[:2] == ["smtp", "inet"]:
        fields[0] = f"127.0.0.1:{port}"
    return " ".join(fields)


def _filter_with(home: Path, program: str) -> None:
    folder = home / "filter"
    folder.mkdir(exist_ok=True)
    shutil.chown(folder, _FILTER_USER)
    (folder / "run").write_text(_FILTER_SCRIPT.format(home=home, program=program))
    ours = shutil.ignore_patterns("main.cf", "master.cf")
    shutil.copytree("/etc/postfix", home / "conf", dirs_exist_ok=True, ignore=ours)
    for parent in (home, home.parent):
        parent.chmod(0o755)
    file = home / "conf" / "master.cf"
    # Only mail from the network is filtered: what comes back by sendmail is not.
    lines = [
        f"{line} -o content_filter=filter:x" if line.split()[1:2] == ["inet"] else line
        for line in file.read_text().splitlines()
    ]
    file.write_text("\n".join(lines) + _FILTER_ENTRY.format(home=home))


def _gone(pids: Sequence[int]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still there: {left}")
        time.sleep(0.02)  # they are not our children, so nothing reports their end
