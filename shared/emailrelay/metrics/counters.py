"""Counts events into files that all processes of this host share (prometheus-client's mode for it).

The files are memory of the process, mapped: an increment makes no system call, and a process that
is killed loses nothing.
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from prometheus_client import Counter, Histogram, values

from emailrelay import runtime_dir
from emailrelay.errors import reason_of
from emailrelay.events import Event, MonitorTrouble, Report
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
_Counts: TypeAlias = Mapping[type[Event], list[_Count]]


class Counters:
    """A ``Report`` that counts. It opens its files at the first event that is counted.

    A process has one at most; a forked process counts in files of its own.
    """

    def __init__(self, directory: Path, trouble: Report) -> None:
        """Count in this runtime directory; ``trouble`` is told once if that cannot go on."""
        self._directory = directory
        self._trouble = trouble
        self._place: CounterPlace | None = None
        self._counts: _Counts | None = None

    def __call__(self, event: Event) -> None:
        """Count an event; never raise."""
        if type(event) not in COUNTED:
            return
        try:
            counts = self._counts if self._counts is not None else self._open()
            for count in counts.get(type(event), ()):
                count(event)
        except Exception as error:  # noqa: BLE001 -- counters must never stop mail
            self._counts = {}
            if self._place is not None:
                self._place.forget()
            reason = f"no counters until the next start: {reason_of(error)}"
            self._trouble(MonitorTrouble(reason=reason))

    def close(self) -> None:
        """Give up this process's place."""
        if self._place is not None:
            self._place.close()

    def _open(self) -> _Counts:
        directory = runtime_dir.part_of(self._directory, runtime_dir.COUNTERS)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        self._counts = {}
        # The library reads its files at the first use of a metric.
        values.ValueClass = values.MultiProcessValue(partial(self._identity, directory))  # type: ignore[no-untyped-call] # pyright: ignore[reportUnknownMemberType]
        counts = defaultdict[type[Event], list[_Count]](list)
        metrics = dict[str, Counter]()
        for rule in COUNTERS:
            metric = metrics.get(rule.name)
            if metric is None:
                metric = Counter(rule.name, rule.help, rule.labels, registry=None)
                metrics[rule.name] = metric
            counts[rule.event].append(_counting(rule, metric))
        for histogram in HISTOGRAMS:
            counts[histogram.event].append(_observing(histogram))
        self._counts = counts
        return counts

    def _identity(self, directory: Path) -> int:
        """Return the number of this process's place, which names its files."""
        place = self._place
        if place is None or not place.is_own:
            if place is not None:  # the parent's
                place.close()
            place = self._place = CounterPlace(directory)
        return place.number


def _counting(rule: CounterRule, metric: Counter) -> _Count:
    """Return the function that counts an event."""
    if not rule.labels:
        inc = metric.inc

        def count(event: Event) -> None:
            for _, amount in rule.increments(event):
                inc(amount)

        return count
    series = dict[Labels, Counter]()

    def count_labelled(event: Event) -> None:
        for labels, amount in rule.increments(event):
            found = series.get(labels)
            if found is None:
                if len(series) >= MOST_SERIES:
                    labels = (OTHER,) * len(labels)  # noqa: PLW2901 -- counted under this name
                found = series[labels] = metric.labels(*labels)
            found.inc(amount)

    return count_labelled


def _observing(rule: HistogramRule) -> _Count:
    metric = Histogram(rule.name, rule.help, buckets=rule.buckets, registry=None)

    def observe(event: Event) -> None:
        metric.observe(rule.seconds(event))

    return observe
