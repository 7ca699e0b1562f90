"""The cost of metrics and history, on and off, and of a count of a deep queue."""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from bench import instructions, turns
from bench.case import Bench, Bound, Case, Figures, Goal
from bench.generate import fill
from bench.load import KIB, Load
from emailrelay.store.quick_chooser import view_at

_LOAD = Load(messages=100, octets=10 * KIB, sessions=20)
_ROUNDS = 100
_OFF, _AGAIN, _HISTORY, _METRICS, _BOTH = (
    "neither",
    "neither again",
    "history",
    "metrics",
    "history and metrics",
)
_ON_DISK = "metrics on a disk"
_NO_HISTORY = ("--history-days", "0")
_LATER = 86_400.0
_COUNT = "ms a count"
_DEPTH = 100_000
_INSTRUCTIONS = "thousand instructions a message"


def _side_by_side(bench: Bench) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_memory()) as memory:
        relays = {
            _OFF: _NO_HISTORY,
            _AGAIN: _NO_HISTORY,
            _HISTORY: (),
            _METRICS: (*_NO_HISTORY, "--runtime-dir", f"{memory}/metrics"),
            _BOTH: ("--runtime-dir", f"{memory}/both"),
            _ON_DISK: (*_NO_HISTORY, "--runtime-dir", str(bench.directory / "run")),
        }
        return turns.compared(bench, _LOAD, relays, rounds=bench.count(_ROUNDS))


def _memory() -> str | None:
    """Return a file system in memory, where the runtime directory belongs (docs/monitoring.md)."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 -- a directory of its own


def _relay(bench: Bench) -> Figures:
    return {_INSTRUCTIONS: instructions.of_relay(bench, _NO_HISTORY) / 1000}


def _work(_bench: Bench, name: str) -> Figures:
    return {_INSTRUCTIONS: instructions.of_work(name) / 1000}


def _count(bench: Bench) -> Figures:
    """Count a queue as the monitor does, which looks at most once in a hundred times as long."""
    spool = bench.directory / "deep"
    fill(spool, bench.count(_DEPTH), 2 * KIB, due_in=_LATER)

    with view_at(str(spool)) as view:
        began = time.process_time()
        counted = list(view.counts(time.time(), names_only=True))
        spent = time.process_time() - began
    if sum(count.messages for count in counted) < bench.count(_DEPTH):
        sys.exit(f"some messages were not counted: {counted}")
    return {_COUNT: 1000 * spent}


CASES = (
    Case(
        name="metrics",
        words="relay with history and metrics, on and off, side by side",
        contestants={"ours": _side_by_side},
        goals=(
            Goal(figure=turns.ratio(_METRICS, _OFF), bound=Bound.AT_MOST, synced=1.03),
            Goal(figure=turns.more("calls", _METRICS, _OFF), bound=Bound.AT_MOST, synced=6),
        ),
        short=0.05,
    ),
    Case(
        name="metrics-instructions",
        words="instructions of history and metrics",
        contestants={
            "relay": _relay,
            "metrics": partial(_work, name="metrics"),
            "history": partial(_work, name="history"),
        },
        goals=(
            Goal(figure=_INSTRUCTIONS, of="metrics", to="relay", bound=Bound.AT_MOST, synced=0.03),
        ),
    ),
    Case(
        name="count-100000",
        words="count a queue of 100,000",
        contestants={"spool": _count},
        goals=(Goal(figure=_COUNT, of="spool", bound=Bound.AT_MOST, synced=500),),
    ),
)
