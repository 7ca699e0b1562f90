"""Counts events into files that all processes of this host share (prometheus-client's format).

The files are memory of the process, mapped: an increment makes no system call, and a process that
is killed loses nothing. The library's own counters do the same, but take four times as long: they
ask at each increment whether the process has forked.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.utils import floatToGoString  # pyright: ignore[reportUnknownVariableType]

from emailrelay import runtime_dir
from emailrelay.errors import reason_of
from emailrelay.events.event import Event, Report
from emailrelay.events.service import MonitorTrouble
from emailrelay.metrics import places
from emailrelay.metrics.declared import (
    COUNTED,
    COUNTERS,
    HISTOGRAMS,
    OTHER,
    CounterRule,
    HistogramRule,
    Labels,
)
from emailrelay.metrics.places import CounterPlace

MOST_SERIES = 100
"""Time series of one counter in one process; further ones are counted under ``other``."""

_Count: TypeAlias = Callable[[Any], None]
_Counts: TypeAlias = Mapping[type[Event], Sequence[_Count]]
_Add: TypeAlias = Callable[[float], None]
_Write: TypeAlias = Callable[[str, float, float], None]


class Counters:
    """A ``Report`` that counts. It opens its files at the first event that is counted.

    A process has one at most; a forked process counts in files of its own.
    """

    def __init__(self, directory: Path, trouble: Report) -> None:
        """Count in this runtime directory; ``trouble`` is told once if that cannot go on."""
        self._directory = directory
        self._trouble = trouble
        self._process = 0
        """The process that has opened the files; 0: none has."""
        self._place: CounterPlace | None = None
        self._files: list[MmapedDict] = []
        self._counts: _Counts = {}

    def __call__(self, event: Event) -> None:
        """Count an event; never raise."""
        kind = type(event)
        if kind not in COUNTED:
            return
        try:
            if self._process != places.process:
                self._open()
            for count in self._counts.get(kind, ()):
                count(event)
        except Exception as error:  # noqa: BLE001 -- counters must never stop mail
            self._counts = {}
            if self._place is not None:
                self._place.forget()
            reason = f"no counters until the next start: {reason_of(error)}"
            self._trouble(MonitorTrouble(reason=reason))

    def close(self) -> None:
        """Give up this process's place, or its copy of its parent's."""
        for file in self._files:
            file.close()  # type: ignore[no-untyped-call]
        self._files.clear()
        if self._place is not None:
            self._place.close()
            self._place = None

    def _open(self) -> None:
        self._process, self._counts = places.process, {}
        directory = runtime_dir.part_of(self._directory, runtime_dir.COUNTERS)
        self.close()  # of the parent
        self._place = CounterPlace(directory)
        for path in self._place.files:
            self._files.append(MmapedDict(str(path)))  # type: ignore[no-untyped-call]
        counters, histograms = self._files
        counts = defaultdict[type[Event], list[_Count]](list)
        known = defaultdict[str, dict[Labels, _Add]](dict)
        for rule in COUNTERS:
            counts[rule.event].append(_counting(rule, counters, known[rule.name]))
        for histogram in HISTOGRAMS:
            counts[histogram.event].append(_observing(histogram, histograms))
        self._counts = counts


def _adding(file: MmapedDict, key: str) -> _Add:
    """Return the function that adds to a number in a file.

    A thread that comes between adds to the same number; the file has it with the next event.
    """
    value: float = file.read_value(key)[0]  # type: ignore[no-untyped-call]
    write = cast("_Write", file.write_value)  # pyright: ignore[reportUnknownMemberType]

    def add(amount: float) -> None:
        nonlocal value
        value += amount
        write(key, value, 0.0)

    return add


def _counting(rule: CounterRule, file: MmapedDict, series: dict[Labels, _Add]) -> _Count:
    """Return the function that counts an event. The rules of one counter share its ``series``."""

    def opened(labels: Labels) -> _Add:
        name = f"{rule.name}_total"
        return _adding(file, mmap_key(rule.name, name, list(rule.labels), list(labels), rule.help))

    def count(event: Event) -> None:
        for labels, amount in rule.increments(event):
            add = series.get(labels)
            if add is None:
                if len(series) >= MOST_SERIES:
                    labels = (OTHER,) * len(labels)  # noqa: PLW2901 -- counted under this name
                add = series[labels] = series.get(labels) or opened(labels)
            add(amount)

    return count


def _observing(rule: HistogramRule, file: MmapedDict) -> _Count:
    bounds = rule.buckets

    def opened(what: str, **labels: str) -> _Add:
        names, values = list(labels), list(labels.values())
        return _adding(file, mmap_key(rule.name, f"{rule.name}_{what}", names, values, rule.help))

    total = opened("sum")
    buckets = [
        opened("bucket", le=floatToGoString(bound))  # type: ignore[no-untyped-call]
        for bound in (*bounds, math.inf)
    ]

    def observe(event: Event) -> None:
        seconds = rule.seconds(event)
        total(seconds)
        buckets[bisect_left(bounds, seconds)](1)

    return observe
