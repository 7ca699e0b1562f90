"""Compares two settings of our relay: both run side by side, and take turns of a second or two.

A pair of turns sees the same machine, so that a ratio of CPU time means something also beside other
work. Counts of system calls, page faults and context switches need no calm machine at all.
"""

import contextlib
import statistics
import subprocess
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import machine
from bench.case import Bench, Figures
from bench.load import Load, warm_up
from bench.peers import Ours, ours
from bench.sinks import sink

_PATIENCE = 120.0
_LOOK = 0.02
_SETTLING = 0.3
"""Seconds in which a relay ends its work after the last delivery."""
_DELIVERED = b'"event":"delivered"'
_TRACEPOINT = "raw_syscalls:sys_enter"
_COUNTED = 4
"""The last of so many turns are counted: counting system calls costs time."""

RATIO = "CPU a message, on : off"
CPU_OFF, CPU_ON = "CPU ms a message, off", "CPU ms a message, on"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a process has used up to now, or between two looks."""

    cpu: float
    """Seconds."""
    faults: int
    switches: int
    calls: int = 0

    def since(self, before: "Spent") -> "Spent":
        """Return what was used since an earlier look."""
        return Spent(
            cpu=self.cpu - before.cpu,
            faults=self.faults - before.faults,
            switches=self.switches - before.switches,
        )


_Turn = dict[str, Spent]
"""By service, for one turn of one relay."""


def compared(
    bench: Bench, load: Load, *, off: Sequence[str], on: Sequence[str], turns: int
) -> Figures:
    """Send the load to both relays in turns; ``off`` and ``on`` are options of their services."""
    with contextlib.ExitStack() as running:
        relays = [
            running.enter_context(_relay(replace(bench, directory=_made(bench, name)), options))
            for name, options in (("off", off), ("on", on))
        ]
        for relay in relays:
            warm_up(relay.port, load.sessions)
            machine.at_rest(relay.pids())
        taken = [_pair(relays, load, turn, counted=False) for turn in range(turns)]
        counted = [_pair(relays, load, turn, counted=True) for turn in range(_COUNTED)]
    return _figures(taken, counted, load.messages)


def _made(bench: Bench, name: str) -> Path:
    directory = bench.directory / name
    directory.mkdir()
    return directory


@contextlib.contextmanager
def _relay(bench: Bench, options: Sequence[str]) -> Generator[Ours]:
    with (
        sink() as target,
        ours(bench, forward_to=target.port, receiver=options, forwarder=options) as relay,
    ):
        yield relay


def _pair(relays: Sequence[Ours], load: Load, turn: int, *, counted: bool) -> tuple[_Turn, _Turn]:
    """Let both relays have a turn, in alternating order."""
    order = (0, 1) if turn % 2 == 0 else (1, 0)
    took = {index: _turn(relays[index], load, counted=counted) for index in order}
    return took[0], took[1]


def _turn(relay: Ours, load: Load, *, counted: bool) -> _Turn:
    pids = {name: process.pid for name, process in relay.processes.items()}
    log = relay.spool.parent / "forwarder.log"
    wanted = _deliveries(log) + load.messages
    before = {name: spent(pid) for name, pid in pids.items()}
    with _calls(pids if counted else {}) as calls:
        load.send(relay.port)
        _until(log, wanted)
        time.sleep(_SETTLING)  # the last settlements cost CPU behind the last delivery
    after = {name: spent(pid).since(before[name]) for name, pid in pids.items()}
    return {name: replace(each, calls=calls.get(name, 0)) for name, each in after.items()}


def _deliveries(log: Path) -> int:
    return log.read_bytes().count(_DELIVERED)


def _until(log: Path, wanted: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while _deliveries(log) < wanted:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{wanted - _deliveries(log)} messages were not delivered")
        time.sleep(_LOOK)


def spent(pid: int) -> Spent:
    """Return what all threads of a process have used since its start."""
    process = Path(f"/proc/{pid}")
    nanoseconds = switches = 0
    for task in (process / "task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
        switches += machine.switches_of((task / "status").read_text())
    return Spent(
        cpu=nanoseconds / 1e9,
        faults=machine.faults_of((process / "stat").read_text()),
        switches=switches,
    )


@contextlib.contextmanager
def _calls(pids: dict[str, int]) -> Generator[dict[str, int]]:
    """Count the system calls in the block: the dictionary has them, by service, at its end."""
    counts: dict[str, int] = {}
    perfs = {
        name: subprocess.Popen(
            ["perf", "stat", "-x,", "-e", _TRACEPOINT, "-p", str(pid)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, pid in pids.items()
    }
    if perfs:
        time.sleep(1.0)  # perf tells nobody when it begins
    yield counts
    for name, perf in perfs.items():
        perf.send_signal(2)
        counts[name] = int(perf.communicate()[1].split(",")[0])


def _figures(
    taken: Sequence[tuple[_Turn, _Turn]], counted: Sequence[tuple[_Turn, _Turn]], messages: int
) -> Figures:
    cpu = [tuple(sum(s.cpu for s in turn.values()) for turn in pair) for pair in taken]
    figures = {
        RATIO: statistics.median(on / off for off, on in cpu),
        CPU_OFF: 1000 * statistics.median(off for off, _ in cpu) / messages,
        CPU_ON: 1000 * statistics.median(on for _, on in cpu) / messages,
    }
    for service in counted[0][0]:
        for name in ("calls", "faults", "switches"):
            off, on = (
                statistics.median(getattr(pair[which][service], name) for pair in counted)
                / messages
                for which in (0, 1)
            )
            figures[f"{service}: {name} a message, off"] = off
            figures[f"{service}: {name} a message, on"] = on
    return figures
