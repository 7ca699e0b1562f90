"""Compares relays with different settings: all run side by side, and take turns of about a second.

The relays of a round of turns see the same machine, so that a ratio of CPU time means something
also beside other work. Give one setting to two relays: their ratio is the noise. Counts of system
calls, page faults and context switches need no calm machine at all.
"""

import contextlib
import random
import signal
import statistics
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import machine
from bench.case import Bench, Figures
from bench.load import Load, warm_up
from bench.peers import Ours, ours
from bench.sinks import sink

_PATIENCE = 120.0
_LOOK = 0.02
_SETTLING = 0.2
"""Seconds in which a relay ends its work after the last delivery."""
_ALIKE = ("setarch", "--addr-no-randomize", "env", "PYTHONHASHSEED=0")
"""The same addresses and hashes in each process: else equal relays differ by a tenth."""
_DELIVERED = b'"event":"delivered"'
_COUNTED = 2
"""Rounds in which system calls are counted, which costs time: the CPU is measured in others."""
_COUNTS = ("calls", "faults", "switches")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The use of the machine by the processes of a relay."""

    cpu: float = 0.0
    """Seconds."""
    calls: int = 0
    """System calls; 0: they were not counted."""
    faults: int = 0
    switches: int = 0

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(
            cpu=self.cpu - other.cpu,
            calls=self.calls - other.calls,
            faults=self.faults - other.faults,
            switches=self.switches - other.switches,
        )


_Round = Mapping[str, Spent]
"""By relay."""


def compared(
    bench: Bench, load: Load, relays: Mapping[str, Sequence[str]], *, rounds: int
) -> Figures:
    """Send the load to each relay in turn; return figures relative to the first relay.

    ``relays`` has the options of each relay's services, by the words for it.
    """
    with contextlib.ExitStack() as running:
        opened = {
            name: running.enter_context(_relay(bench, number, options))
            for number, (name, options) in enumerate(relays.items())
        }
        for relay in opened.values():
            warm_up(relay.port, load.sessions)
            machine.at_rest(relay.pids())
        timed = [_round(opened, load, turn, counted=False) for turn in range(rounds)]
        counted = [_round(opened, load, turn, counted=True) for turn in range(_COUNTED)]
    return {**_cpu(timed, load.messages), **_counts(counted, load.messages)}


@contextlib.contextmanager
def _relay(bench: Bench, number: int, options: Sequence[str]) -> Generator[Ours]:
    own = replace(bench, directory=bench.directory / str(number))
    own.directory.mkdir()
    with (
        sink() as target,
        ours(
            own, forward_to=target.port, receiver=options, forwarder=options, wrapper=_ALIKE
        ) as relay,
    ):
        yield relay


def _round(relays: Mapping[str, Ours], load: Load, turn: int, *, counted: bool) -> _Round:
    """Let each relay have a turn, in an order of its own."""
    order = list(relays)
    random.Random(turn).shuffle(order)  # noqa: S311 -- no secret
    took = {name: _turn(relays[name], load, counted=counted) for name in order}
    return {name: took[name] for name in relays}


def _turn(relay: Ours, load: Load, *, counted: bool) -> Spent:
    log = relay.spool.parent / "forwarder.log"
    wanted = deliveries(log) + load.messages
    before = spent(relay.pids())
    with _calls(relay.pids() if counted else ()) as calls:
        load.send(relay.port)
        _until(log, wanted)
        time.sleep(_SETTLING)  # the last settlements cost CPU behind the last delivery
    return replace(spent(relay.pids()) - before, calls=sum(calls))


def deliveries(log: Path) -> int:
    """Return the number of deliveries in a log of the forwarder."""
    return log.read_bytes().count(_DELIVERED)


def _until(log: Path, wanted: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while (missing := wanted - deliveries(log)) > 0:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{missing} messages were not delivered")
        time.sleep(_LOOK)  # smtp-sink gives no sign of a delivery


def spent(pids: Sequence[int]) -> Spent:
    """Return what all threads of some processes have used since their start."""
    nanoseconds = faults = switches = 0
    for pid in pids:
        process = Path(f"/proc/{pid}")
        faults += machine.faults_of((process / "stat").read_text())
        for task in (process / "task").iterdir():
            nanoseconds += int((task / "schedstat").read_text().split()[0])
            switches += machine.switches_of((task / "status").read_text())
    return Spent(cpu=nanoseconds / 1e9, faults=faults, switches=switches)


@contextlib.contextmanager
def _calls(pids: Sequence[int]) -> Generator[list[int]]:
    """Count system calls: the list has a number for each process, behind the block."""
    counts: list[int] = []
    command = ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p"]
    perfs = [
        subprocess.Popen([*command, str(pid)], stderr=subprocess.PIPE, text=True) for pid in pids
    ]
    if perfs:
        time.sleep(1.0)  # perf gives no sign when it begins
    yield counts
    for perf in perfs:
        perf.send_signal(signal.SIGINT)
        counts.append(int(perf.communicate()[1].split(",")[0]))


def _cpu(rounds: Sequence[_Round], messages: int) -> Figures:
    first, *_ = names = list(rounds[0])
    figures: dict[str, float] = {}
    for name in names:
        if name != first:
            ratios = [turns[name].cpu / turns[first].cpu for turns in rounds]
            figures[ratio(name, first)] = statistics.median(ratios)
        taken = statistics.median(turns[name].cpu for turns in rounds)
        figures[f"{name}: CPU ms a message"] = 1000 * taken / messages
    return figures


def _counts(rounds: Sequence[_Round], messages: int) -> Figures:
    first, *others = rounds[0]
    figures: dict[str, float] = {}
    for count in _COUNTS:
        taken = {
            name: statistics.median(getattr(turns[name], count) for turns in rounds) / messages
            for name in rounds[0]
        }
        figures[f"{first}: {count} a message"] = taken[first]
        figures |= {more(count, name, first): taken[name] - taken[first] for name in others}
    return figures


def ratio(name: str, to: str) -> str:
    """Name the figure of a ratio."""
    return f"CPU a message, {name} : {to}"


def more(count: str, name: str, to: str) -> str:
    """Name the figure of a difference."""
    return f"{count} a message, {name} - {to}"
