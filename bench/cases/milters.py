"""Milters: OpenDKIM that only reads, and OpenDKIM that signs, beside Postfix with the same one."""

import contextlib
import signal
import subprocess
import time
from collections.abc import Generator
from functools import partial
from pathlib import Path

from bench.case import Bench, Case, Figures, Goal
from bench.cases.relay import RATE, relayed
from bench.load import KIB, Load, warm_up
from bench.peers import ours, postfix
from bench.sinks import sink

_LOAD = Load(messages=2000, octets=10 * KIB, sessions=20)
_PATIENCE = 30.0
_CONFIG = """
Syslog no
Background no
Mode {mode}
Socket local:{socket}
PidFile {home}/opendkim.pid
TemporaryDirectory {home}
Canonicalization relaxed/relaxed
"""
_SIGNS = """
Domain bench.invalid
Selector sel
KeyFile {home}/key
RequireSafeKeys no
"""


@contextlib.contextmanager
def _opendkim(bench: Bench, *, signs: bool) -> Generator[Path]:
    """Run OpenDKIM; give its socket, to which every user can connect."""
    home = bench.directory / "opendkim"
    home.mkdir()
    home.chmod(0o755)
    socket, config = home / "socket", home / "conf"
    text = _CONFIG + _SIGNS if signs else _CONFIG
    config.write_text(text.format(mode="s" if signs else "v", socket=socket, home=home))
    if signs:
        command = ["openssl", "genrsa", "-traditional", "-out", str(home / "key"), "2048"]
        subprocess.run(command, check=True, capture_output=True)
    server = subprocess.Popen(["/usr/sbin/opendkim", "-f", "-x", config])
    try:
        deadline = time.monotonic() + _PATIENCE
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("opendkim does not start")
            time.sleep(0.02)  # it prints nothing when it listens
        socket.chmod(0o777)
        yield socket
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def _ours(bench: Bench, *, signs: bool) -> Figures:
    load = _LOAD.scaled(bench.scale)
    with (
        _opendkim(bench, signs=signs) as socket,
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port, filters=[f"milter:{socket}"]) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _postfix(bench: Bench, *, signs: bool) -> Figures:
    load = _LOAD.scaled(bench.scale)
    with (
        _opendkim(bench, signs=signs) as socket,
        sink(messages=load.messages + load.sessions) as target,
        postfix(
            bench,
            forward_to=target.port,
            more=f"smtpd_milters = unix:{socket}\nmilter_default_action = tempfail\n",
        ) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _case(name: str, words: str, *, signs: bool) -> Case:
    return Case(
        name=name,
        words=f"{words}, 10 KiB, 20 sessions",
        contestants={
            "ours": partial(_ours, signs=signs),
            "postfix": partial(_postfix, signs=signs),
        },
        goals=(Goal(figure=RATE, to="postfix", synced=1.0),),
        short=0.2,
    )


CASES = (
    _case("milter", "a milter that only reads", signs=False),
    _case("milter-signs", "a milter that signs", signs=True),
)
