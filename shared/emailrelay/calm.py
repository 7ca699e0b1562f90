"""Repeated trouble is told once a minute, with the number of times that it was left out.

Two events are the same if their kind and their reason are equal, without numbers: many reasons
contain message ids, process ids or ports. Each process counts for itself.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from emailrelay.events import (
    AcceptTrouble,
    Event,
    FilterTrouble,
    InternalError,
    LeftOut,
    LibraryTrouble,
    Rejected,
    Report,
    Stopped,
    Stopping,
    StoreTrouble,
    VerifierTrouble,
    WatchTrouble,
    event_name,
)

_PAUSE = 60.0
"""Seconds within which the same is told once."""
_MOST_REASONS = 20
"""Reasons of one kind that are told within a pause, however they differ; further ones are only counted."""

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_OUR_STATE = re.compile(r"4[0-9][0-9] 4\.(?:3\.|4\.3 )")
"""Temporary replies about the state of this system: they refuse every client alike."""

_FIELDS: Mapping[type[Event], tuple[str, ...]] = MappingProxyType(
    {
        AcceptTrouble: ("reason",),
        FilterTrouble: ("filter", "reason"),
        InternalError: ("doing", "reason"),
        LibraryTrouble: ("library", "text"),
        StoreTrouble: ("doing", "reason"),
        VerifierTrouble: ("verifier", "reason"),
        WatchTrouble: ("reason",),
    }
)
"""What makes trouble of a kind the same."""

_Key = tuple[type[Event], str]
_OTHERS = ""
"""In place of a reason: all beyond ``_MOST_REASONS``."""


@dataclass(slots=True)
class _Told:
    """When something was told, or would have been, and how often it was left out since."""

    at: float
    reason: str
    left_out: int = 0


class Calm:
    """A ``Report`` in front of another one."""

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        """Take where events go, and a clock in seconds."""
        self._report = report
        self._clock = clock
        self._told: dict[_Key, _Told] = {}
        self._next = float("inf")
        """When the first pause is over."""

    def __call__(self, event: Event) -> None:
        """Report an event, or count it if the same event was told less than a minute ago."""
        now = self._clock()
        if now >= self._next or isinstance(event, Stopping | Stopped):
            self._end_pauses(now, all_of_them=isinstance(event, Stopping | Stopped))
        reason = _reason(event)
        if reason is None or self._is_new(type(event), reason, now):
            self._report(event)

    def _is_new(self, kind: type[Event], reason: str, now: float) -> bool:
        key = kind, _NUMBER.sub("#", reason)
        if key not in self._told and self._of_kind(kind) >= _MOST_REASONS:
            key = kind, _OTHERS
            self._told.setdefault(key, _Told(now, "for various reasons"))
        told = self._told.get(key)
        if told is not None:
            told.left_out += 1
            return False
        self._told[key] = _Told(now, reason)
        self._next = min(self._next, now + _PAUSE)
        return True

    def _of_kind(self, kind: type[Event]) -> int:
        return sum(told is kind for told, _ in list(self._told))

    def _end_pauses(self, now: float, *, all_of_them: bool) -> None:
        """Forget events that were told a minute ago, and tell how often each was left out."""
        # A copy: other threads report as well.
        for key, told in list(self._told.items()):
            if all_of_them or now - told.at >= _PAUSE:
                self._told.pop(key, None)
                if told.left_out:
                    name = event_name(key[0])
                    self._report(LeftOut(kind=name, reason=told.reason, lines=told.left_out))
        self._next = min((told.at for told in list(self._told.values())), default=float("inf"))
        self._next += _PAUSE


def _reason(event: Event) -> str | None:
    """Return the text by which events of one kind are compared; None: the event is always told."""
    if isinstance(event, Rejected):
        return event.reply if _OUR_STATE.match(event.reply) else None
    fields = _FIELDS.get(type(event))
    return None if fields is None else ": ".join(str(getattr(event, name)) for name in fields)
