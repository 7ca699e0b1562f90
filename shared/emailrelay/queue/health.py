"""The state of the queue for a monitoring system: what is measured, and how bad it is.

The line follows the guidelines for monitoring plugins (monitoring-plugins.org), which Nagios,
Icinga and others read.
"""

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from emailrelay.queue.state import State
from emailrelay.queue.totals import Totals
from emailrelay.terminal.human import octets, span
from emailrelay.terminal.output import counted

_WAITING = (State.UNFILTERED, State.READY, State.DEFERRED)


class HealthStatus(IntEnum):
    """The exit status of a plugin."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


class Limits(NamedTuple):
    """The values from which a measure is a warning, or critical. None: never."""

    warning: float | None = None
    critical: float | None = None


class Measure(NamedTuple):
    """One value, and its limits. ``low``: a value is bad if it is below the limits."""

    label: str
    value: float
    unit: str
    limits: Limits
    text: str
    low: bool = False

    @property
    def severity(self) -> HealthStatus:
        """Judge the value."""
        if self._beyond(self.limits.critical):
            return HealthStatus.CRITICAL
        return HealthStatus.WARNING if self._beyond(self.limits.warning) else HealthStatus.OK

    def _beyond(self, limit: float | None) -> bool:
        if limit is None:
            return False
        return self.value < limit if self.low else self.value > limit

    @property
    def performance(self) -> str:
        """Return the value in the format of performance data: ``label=value[unit];warn;crit;min``.

        A limit with a colon means: bad below it.
        """
        limits = (
            "" if limit is None else f"{limit:g}{':' if self.low else ''}" for limit in self.limits
        )
        return f"{self.label}={self.value:.10g}{self.unit};{';'.join(limits)};0"


class HealthLimits(NamedTuple):
    """The limits of all measures."""

    oldest: Limits
    """Seconds since the arrival of the oldest message that waits."""
    waiting: Limits
    """Messages that wait: unfiltered, ready and deferred ones."""
    failed: Limits
    """Failed messages that are kept."""
    free: Limits
    """Free room in per cent; less is bad."""


def measures(
    totals: Mapping[str, Totals], free: tuple[int, int] | None, limits: HealthLimits, now: float
) -> list[Measure]:
    """Measure the totals of all states, and the free room (octets free, octets in all)."""
    waiting = [totals[state.value] for state in _WAITING]
    number = sum(each.messages for each in waiting)
    oldest = min((each.oldest for each in waiting if each.oldest is not None), default=now)
    age = max(now - oldest, 0.0)
    failed, held = totals[State.FAILED.value].messages, totals[State.HELD.value].messages
    old = f", the oldest for {span(age)}" if number else ""
    found = [
        Measure(
            "oldest",
            math.ceil(age),
            "s",
            limits.oldest,
            f"{counted(number, 'message')} waiting{old}",
        ),
        Measure("waiting", number, "", limits.waiting, ""),
        Measure("failed", failed, "", limits.failed, f"{failed:,} failed"),
        Measure("held", held, "", Limits(), f"{held:,} held"),
    ]
    if free is not None and free[1] > 0:
        share = round(100 * free[0] / free[1], 1)
        text = f"{octets(free[0])} free ({share:g} %)"
        found.append(Measure("free", share, "%", limits.free, text, low=True))
    return found


def severity(found: Sequence[Measure]) -> HealthStatus:
    """Return the worst severity."""
    return max((measure.severity for measure in found), default=HealthStatus.OK)


def health_line(found: Sequence[Measure]) -> str:
    """Return the line of the plugin: status, text, and performance data after a bar."""
    texts = ", ".join(measure.text for measure in found if measure.text)
    data = " ".join(measure.performance for measure in found)
    return f"EMAILRELAY {severity(found).name} - {texts} | {data}"


def unknown_line(reason: str) -> str:
    """Return the line for a queue that cannot be read; a bar in the reason would end the text."""
    return f"EMAILRELAY UNKNOWN - {reason.replace('|', '/')}"
