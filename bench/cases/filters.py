"""Filters: a program per message, a persistent one, none; and the machine's fork and exec."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.case import Bench, Case, Figures, Goal, Wanted
from bench.cases.relay import RATE, relayed
from bench.load import KIB, Load, warm_up
from bench.peers import ours, postfix
from bench.sinks import free_port, sink

_LOAD = Load(messages=3000, octets=10 * KIB, sessions=20)
_PROGRAM = "/bin/true"
_AT_ONCE = 4
"""As many as filterd runs by default."""
RUNS = "runs/s"


def _ours(bench: Bench, spec: str) -> Figures:
    load = _LOAD.scaled(bench.scale)
    filters = [spec] if spec else []
    with (
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port, filters=filters) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _postfix(bench: Bench) -> Figures:
    load = _LOAD.scaled(bench.scale)
    with (
        sink(messages=load.messages + load.sessions) as target,
        postfix(bench, forward_to=target.port, program=_PROGRAM) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _pipe(bench: Bench) -> Figures:
    program = bench.directory / "loop"
    # In Python: a shell reads its input octet by octet, a system call for each.
    loop = 'import sys\nfor line in sys.stdin:\n    print("ok", flush=True)\n'
    program.write_text(f"#!{sys.executable}\n{loop}")
    program.chmod(0o755)
    return _ours(bench, f"pipe:{program}")


def _net(bench: Bench) -> Figures:
    with _net_filter() as port:
        return _ours(bench, f"net:127.0.0.1:{port}")


@contextlib.contextmanager
def _net_filter() -> Generator[int]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "bench.net_filter", str(port)])
    try:
        while server.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.02)  # it prints nothing when it listens
        yield port
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()


def _fork_and_exec(bench: Bench) -> Figures:
    runs = bench.count(4000)
    began = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(_run, range(runs)))
    return {RUNS: runs / (time.monotonic() - began)}


def _run(_number: int) -> None:
    pid = os.posix_spawn(_PROGRAM, [_PROGRAM], {})
    os.waitpid(pid, 0)


CASES = (
    Case(
        name="filters",
        words="filter, 10 KiB, 20 sessions",
        contestants={
            "none": partial(_ours, spec=""),
            "net": _net,
            "pipe": _pipe,
            "exit": partial(_ours, spec="exit:0"),
            "program": partial(_ours, spec=_PROGRAM),
            "postfix": _postfix,
            "fork and exec": _fork_and_exec,
        },
        goals=(
            Goal(figure=RATE, of="program", to="postfix", synced=Wanted(2, 3)),
            Goal(figure=RATE, of="program", to="fork and exec", to_figure=RUNS, synced=0.4),
            Goal(figure=RATE, of="net", to="none", synced=0.8),
            Goal(figure=RATE, of="pipe", to="none", synced=0.8),
        ),
        short=0.2,
    ),
)
