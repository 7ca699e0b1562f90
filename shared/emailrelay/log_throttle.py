"""Limits the lines that repeated trouble writes to the log; counts of the other lines follow.

Repeated trouble writes one line a minute. Two events are the same trouble if their kind and their
reason are equal without numbers: many reasons contain message ids, process ids or ports.

Clients can cause refusals and broken sessions at any rate. Together these write 20 lines a second.
Logins that are broken off before a name is known write one line a second for each source of
clients: a program that blocks such clients needs it.

Each process counts for itself.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from emailrelay.client_source import source_of
from emailrelay.events.event import Event, Report
from emailrelay.events.filters import FilterTrouble
from emailrelay.events.log import LeftOut, LibraryTrouble
from emailrelay.events.receiving import (
    AcceptTrouble,
    LoginFailed,
    MoreTrouble,
    RecipientUnchecked,
    Rejected,
    SessionTrouble,
    VerifierTrouble,
)
from emailrelay.events.service import InternalError, Stopped, Stopping
from emailrelay.events.store import StoreTrouble, WatchTrouble

After: TypeAlias = Callable[[float, Callable[[], None]], None]
"""Calls a function after so many seconds; where that is impossible, it does nothing."""


class _Limit(NamedTuple):
    """At most so many lines in a period of so many seconds."""

    lines: int
    seconds: float


_REPEATED = _Limit(lines=1, seconds=60.0)
"""For the same trouble."""
_BY_CLIENTS = _Limit(lines=20, seconds=1.0)
"""For all events together that clients cause."""
_NAMELESS = _Limit(lines=1, seconds=1.0)
"""For the failed logins of one source that have no name. Those with one have a pause."""
_VARIOUS = _Limit(lines=0, seconds=60.0)
"""For all trouble of one kind whose reason gets no line of its own."""
_MOST_SOURCES = 200
"""Periods at a time, from which on nameless logins of all sources share one."""
_MOST_REASONS = 20
"""Reasons of one kind that get lines of their own within a period; further ones are only
counted."""

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_OUR_STATE = re.compile(r"4[0-9][0-9] 4\.(?:3\.|4\.3 )")
"""Temporary replies about the state of this system: they refuse every client alike."""

_FIELDS: Mapping[type[Event], tuple[str, ...]] = MappingProxyType(
    {
        AcceptTrouble: ("reason",),
        FilterTrouble: ("filter", "reason"),
        InternalError: ("doing", "reason"),
        LibraryTrouble: ("library", "text"),
        RecipientUnchecked: ("reason",),
        StoreTrouble: ("doing", "reason"),
        VerifierTrouble: ("verifier", "reason"),
        WatchTrouble: ("reason",),
    }
)
"""The fields that must be equal in the same trouble."""

_CONCERNED = frozenset({*_FIELDS, LoginFailed, Rejected, SessionTrouble, Stopping, Stopped})
"""The kinds that can begin or end a period."""

_Key: TypeAlias = tuple[type[Event], str]
_CLIENTS: _Key = (MoreTrouble, "")
_LATE = 0.01
"""Seconds that the timer is set late: a loop's clock may be a little fast."""


@dataclass(slots=True)
class _Period:
    """The lines of one key in the current period."""

    ends: float
    reason: str
    room: int
    """Lines that may still be written."""
    left_out: Counter[type[Event]] = field(default_factory=Counter[type[Event]])

    def summary(self, kind: type[Event]) -> Event | None:
        """Return an event with the number of events left out; None: there were none."""
        if not self.left_out:
            return None
        if kind is MoreTrouble:
            refusals, sessions = self.left_out[Rejected], self.left_out[SessionTrouble]
            return MoreTrouble(refusals=refusals, sessions=sessions)
        lines = self.left_out.total()
        return LeftOut(kind=kind.name, reason=self.reason, lines=lines)


class LogThrottle:
    """A ``Report`` in front of another one. Threads may share it.

    The summary of a period comes when the period has ended: with the next event, or by ``after``.
    ``Stopping`` and ``Stopped`` end all periods.
    """

    def __init__(self, report: Report, clock: Callable[[], float], after: After) -> None:
        """Take the next ``Report``, a clock in seconds, and a timer on that clock."""
        self._report = report
        self._clock = clock
        self._after = after
        self._periods: dict[_Key, _Period] = {}
        self._next_end = float("inf")

    def __call__(self, event: Event) -> None:
        """Report an event, or count it if the lines of its period are used up."""
        if type(event) not in _CONCERNED and not self._periods:
            self._report(event)
            return
        now = self._clock()
        stops = isinstance(event, Stopping | Stopped)
        if stops or now >= self._next_end:
            self._end_periods(now, all_of_them=stops)
        reason = _reason(event)
        if reason is not None:
            allowed = self._may_repeat(event, reason, now)
        elif isinstance(event, Rejected | SessionTrouble):
            allowed = self._has_room(_CLIENTS, _BY_CLIENTS, event, "", now)
        elif isinstance(event, LoginFailed) and not event.user:
            source = source_of(event.client)
            if len(self._periods) >= _MOST_SOURCES:
                source = "various sources"
            reason = f"without a name, from {source}"
            allowed = self._has_room((LoginFailed, source), _NAMELESS, event, reason, now)
        else:
            allowed = True
        if allowed:
            self._report(event)

    def _may_repeat(self, event: Event, reason: str, now: float) -> bool:
        kind = type(event)
        key = kind, _NUMBER.sub("#", reason)
        if key in self._periods or self._of_kind(kind) < _MOST_REASONS:
            return self._has_room(key, _REPEATED, event, reason, now)
        return self._has_room((kind, ""), _VARIOUS, event, "for various reasons", now)

    def _has_room(self, key: _Key, limit: _Limit, event: Event, reason: str, now: float) -> bool:
        period = self._periods.get(key)
        if period is None:
            period = self._periods[key] = _Period(now + limit.seconds, reason, limit.lines)
            self._next_end = min(self._next_end, period.ends)
        if period.room:
            period.room -= 1
            return True
        if not period.left_out:
            self._after(period.ends - now + _LATE, self._look)
        period.left_out[type(event)] += 1
        return False

    def _of_kind(self, kind: type[Event]) -> int:
        return sum(known is kind for known, _ in list(self._periods))

    def _look(self) -> None:
        self._end_periods(self._clock(), all_of_them=False)

    def _end_periods(self, now: float, *, all_of_them: bool) -> None:
        """Forget the periods that are over, and report the numbers of events left out."""
        # A copy: other threads report as well.
        for key, period in list(self._periods.items()):
            if all_of_them or now >= period.ends:
                self._periods.pop(key, None)
                if summary := period.summary(key[0]):
                    self._report(summary)
        ends = (period.ends for period in list(self._periods.values()))
        self._next_end = min(ends, default=float("inf"))


def _reason(event: Event) -> str | None:
    """Return the text to compare events of one kind by; None: repetitions do not matter."""
    if isinstance(event, Rejected):
        return event.reply if _OUR_STATE.match(event.reply) else None
    fields = _FIELDS.get(type(event))
    return None if fields is None else ": ".join(str(getattr(event, name)) for name in fields)
