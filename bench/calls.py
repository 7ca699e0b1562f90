"""The system calls of one relayed message, by name: ``python -m bench.calls``.

strace counts the calls of receiver and forwarder, and of filterd if there is a filter, while
smtp-source sends without pipelining. A count needs no calm machine: only the calls that a batch
shares (waits, syncs, hints) depend a little on its speed.
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import machine
from bench.accepting import spec_of
from bench.case import Bench, Durability
from bench.load import KIB, Load, warm_up
from bench.peers import ours
from bench.sinks import sink

_ROW = re.compile(
    r"^ *[0-9.]+ +[0-9.]+ +[0-9]+ +(?P<calls>[0-9]+) +(?:[0-9]+ +)?(?P<name>[a-z_0-9]+)$",
    re.MULTILINE,
)
_PATIENCE = 60.0
PROXY = ("--ack", "delivered")
"""The options of a receiver whose clients wait for the delivery."""
_LEAST = 0.05
"""Calls a message below which a row is left out of the table."""

Calls = Mapping[str, float]
"""Calls of one message, by name."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The calls of one message in each service."""

    services: Mapping[str, Calls]

    @property
    def total(self) -> float:
        """All calls of one message."""
        return sum(sum(calls.values()) for calls in self.services.values())


def counted(summary: str) -> Counter[str]:
    """Read the table of strace -c."""
    found = Counter({row["name"]: int(row["calls"]) for row in _ROW.finditer(summary)})
    del found["total"]
    return found


def count(
    bench: Bench,
    load: Load,
    receiver: Sequence[str] = (),
    filters: Sequence[str] = (),
    *,
    workers: int = 1,
) -> Counted:
    """Relay a load, and count the calls of each of its messages.

    ``receiver``: more options. ``filters``: as for ``bench.accepting``. ``workers``: of each
    service.
    """
    with contextlib.ExitStack() as filtering, sink() as end:
        specs = [filtering.enter_context(spec_of(word, bench.directory)) for word in filters]
        relay = filtering.enter_context(
            ours(bench, forward_to=end.port, receiver=receiver, filters=specs, workers=workers)
        )
        warm_up(relay.port, load.sessions)
        _drained(relay.spool)
        machine.at_rest(relay.pids())
        with contextlib.ExitStack() as tracing:
            tables = {
                name: tracing.enter_context(
                    _traced(machine.tree((process.pid,)), bench.directory / f"{name}.calls")
                )
                for name, process in relay.processes.items()
            }
            load.send(relay.port)
            _drained(relay.spool)
        return Counted(
            {
                name: {
                    call: calls / load.messages
                    for call, calls in counted(table.read_text()).items()
                }
                for name, table in tables.items()
            }
        )


@contextlib.contextmanager
def _traced(pids: Sequence[int], table: Path) -> Generator[Path]:
    """Count the calls of processes in the block; afterwards the file has the table."""
    command = ["strace", "-f", "-c", "-o", str(table), *(f"--attach={pid}" for pid in pids)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        for _ in pids:
            said = "" if strace.stderr is None else strace.stderr.readline()
            if "attached" not in said:
                raise OSError(f"cannot trace: {said.strip()}")
        yield table
        strace.terminate()


def _drained(spool: Path) -> None:
    """Wait until no message is left: each is settled behind the answer to its dot."""
    deadline = time.monotonic() + _PATIENCE
    while any(spool.glob("emailrelay.*")):
        if time.monotonic() > deadline:
            raise TimeoutError(f"mail is left in {spool}")
        time.sleep(0.05)  # a look at the spool is no call of the services


def table(found: Mapping[Durability, Counted]) -> Iterable[str]:
    """Write the counts of all services, the most frequent calls first."""
    columns = [calls for each in found.values() for calls in each.services.values()]
    heads = [f"{mode}: {name}" for mode, each in found.items() for name in each.services]
    yield f"| system call | {' | '.join(heads)} |"
    yield f"|---|{'---|' * len(heads)}"
    names = sorted({name for calls in columns for name in calls})
    sums = {name: sum(calls.get(name, 0.0) for calls in columns) for name in names}
    for name in sorted(names, key=lambda name: -sums[name]):
        values = [calls.get(name, 0.0) for calls in columns]
        if max(values) >= _LEAST:
            yield f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |"
    yield f"| all | {' | '.join(f'{sum(calls.values()):.1f}' for calls in columns)} |"
    for mode, each in found.items():
        yield f"| all services, {mode} | {each.total:.1f} |{' |' * (len(heads) - 1)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--octets", type=int, default=10 * KIB, help="of a message [10240]")
    parser.add_argument("--sessions", type=int, default=20, help="of the client [20]")
    parser.add_argument("--one", action="store_true", help="one message a session")
    parser.add_argument("--proxy", action="store_true", help="clients wait for the delivery")
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        help="of filterd; net: and pipe:LANGUAGE start a filter of bench.accepting",
    )
    parser.add_argument("--workers", type=int, default=1, help="of each service [1]")
    parser.add_argument("--durability", type=Durability, choices=list(Durability), nargs="+")
    parser.add_argument("--place", type=Path, help="where the spool is made")
    asked = parser.parse_args(argv)
    load = Load(
        messages=asked.messages, octets=asked.octets, sessions=asked.sessions, keep=not asked.one
    )
    found: dict[Durability, Counted] = {}
    for mode in asked.durability or list(Durability):
        with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.place) as made:
            bench = Bench(directory=Path(made), durability=mode)
            receiver = PROXY if asked.proxy else ()
            found[mode] = count(bench, load, receiver, asked.filter, workers=asked.workers)
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
