"""The time of our services under a load: ``python -m bench.where relay --sessions 20``.

Three looks at the same load, one after the other, since each costs time itself: how long each
thread was on a CPU, waited for one, or slept (the kernel's schedstat); which system calls the CPU
time went to (perf, of Debian's linux-perf); and below which Python functions
(py-spy, of ``pip install --group bench``).
"""

import argparse
import contextlib
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

from bench import machine
from bench.case import BIN, Bench, Durability
from bench.load import KIB, Load, warm_up
from bench.peers import Ours, ours
from bench.sinks import sink

_SECONDS = 4
_LEAST = 1.5
"""Per cent below which nothing is shown."""
_ALL = 99.5
"""Per cent from which on a function is only the way to all others."""
_ENDLESS = 10_000_000
_CALL = re.compile(r"^ +([0-9.]+)% .*\[k\] (?:__(?:x64|do|se)_sys_|ksys_)(\w+) *$", re.MULTILINE)
_OURS = re.compile(r"(?P<name>.+) \((?P<file>emailrelay\w*/[^:)]+)(?::\d+)?\)")
_SETTINGS = {"accept": [], "relay": [], "proxy": ["--ack", "delivered"]}

_Times = dict[tuple[str, int, str], tuple[int, int]]
"""By service, thread and name: nanoseconds on a CPU, and waiting for one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the load, look, print."""
    asked = _parser().parse_args(argv)
    load = Load(messages=_ENDLESS, octets=asked.octets, sessions=asked.sessions, keep=not asked.one)
    with (
        machine.awake(),
        tempfile.TemporaryDirectory(prefix="bench-", dir=asked.place) as made,
        _server(asked, Path(made)) as server,
    ):
        warm_up(server.port, load.sessions)
        pids = {name: process.pid for name, process in server.processes.items()}
        with load.sending(server.port):
            _show("thread", "on a CPU / waiting for one / asleep, %", _threads(pids))
            for name, pid in pids.items():
                _show(f"{name}: system call", "% of its CPU time", _system_calls(pid))
                _show(f"{name}: function", "% of its loop's time", _functions(pid, Path(made)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.where", description=__doc__)
    parser.add_argument("what", choices=list(_SETTINGS))
    parser.add_argument("--octets", type=int, default=10 * KIB, help="of a message [10240]")
    parser.add_argument("--sessions", type=int, default=20, help="of the load [20]")
    parser.add_argument("--one", action="store_true", help="one message a session")
    parser.add_argument("--filter", action="append", default=[], help="as of the receiver")
    parser.add_argument(
        "--durability", type=Durability, choices=list(Durability), default=Durability.SYNCED
    )
    parser.add_argument("--place", type=Path, help="where the spool is made")
    return parser


@contextlib.contextmanager
def _server(asked: argparse.Namespace, directory: Path) -> Generator[Ours]:
    bench = Bench(directory=directory, durability=asked.durability)
    with contextlib.ExitStack() as running:
        forwards = asked.what != "accept"
        yield running.enter_context(
            ours(
                bench,
                forward_to=running.enter_context(sink()).port if forwards else None,
                receiver=_SETTINGS[asked.what],
                filters=asked.filter,
            )
        )


def _show(what: str, measure: str, rows: Sequence[tuple[str, str]]) -> None:
    lines = [
        f"| {what} | {measure} |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    print("\n".join(lines), end="\n\n", flush=True)


def _threads(pids: dict[str, int]) -> list[tuple[str, str]]:
    before, began = _times(pids), time.monotonic()
    time.sleep(_SECONDS)  # the time that is measured
    after, passed = _times(pids), (time.monotonic() - began) * 1e7  # per cent of nanoseconds
    rows: list[tuple[str, str]] = []
    for (service, _, name), (on_cpu, waiting) in after.items():
        was = before.get((service, _, name), (0, 0))
        ran, waited = (on_cpu - was[0]) / passed, (waiting - was[1]) / passed
        if ran + waited >= _LEAST:
            rows.append(
                (f"{service}, {name}", f"{ran:.0f} / {waited:.0f} / {100 - ran - waited:.0f}")
            )
    return rows


def _times(pids: dict[str, int]) -> _Times:
    found: _Times = {}
    for service, parent in pids.items():
        for pid in machine.tree([parent]):
            for task in Path(f"/proc/{pid}/task").iterdir():
                on_cpu, waiting, _ = (task / "schedstat").read_text().split()
                name = (
                    "event loop" if int(task.name) == pid else (task / "comm").read_text().strip()
                )
                found[service, int(task.name), name] = int(on_cpu), int(waiting)
    return found


def _system_calls(pid: int) -> list[tuple[str, str]]:
    with tempfile.NamedTemporaryFile() as data:
        record = ["perf", "record", "-q", "-g", "-F", "1999", "-p", str(pid), "-o", data.name]
        subprocess.run([*record, "--", "sleep", str(_SECONDS)], check=True)
        report = ["perf", "report", "-i", data.name, "--children", "--sort", "sym", "-g", "none"]
        text = subprocess.run(report, check=True, capture_output=True, text=True).stdout
    whole = re.search(r"^ +([0-9.]+)% .*\[k\] do_syscall_64 *$", text, re.MULTILINE)
    rows = [("all of the kernel's", whole[1])] if whole else []
    calls = {name: float(share) for share, name in reversed(_CALL.findall(text))}
    shown = sorted(calls.items(), key=lambda call: -call[1])
    return rows + [(name, f"{share:.1f}") for name, share in shown if share >= _LEAST]


def _functions(pid: int, directory: Path) -> list[tuple[str, str]]:
    data = directory / "stacks"
    command = [str(BIN / "py-spy"), "record", "-d", str(_SECONDS), "-r", "500", "-f", "raw"]
    subprocess.run([*command, "-o", str(data), "--pid", str(pid)], check=True, capture_output=True)
    below: Counter[str] = Counter()
    total = 0
    for line in data.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if "run_in_loop" not in stack:
            continue
        total += int(count)
        frames = map(_OURS.fullmatch, stack.split(";"))
        names = {f"{frame['name']} ({frame['file']})" for frame in frames if frame}
        below.update(dict.fromkeys(names, int(count)))
    shares = [(name, 100 * count / total) for name, count in below.most_common()]
    return [(name, f"{share:.1f}") for name, share in shares if _LEAST <= share < _ALL]


if __name__ == "__main__":
    sys.exit(main())
