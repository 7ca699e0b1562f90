"""When a deferred message is tried again, and when it is given up."""

from dataclasses import dataclass

FARTHEST = 86400.0
"""No pause between two tries is longer than this (seconds)."""

_CLOCK_SLACK = 60.0
"""Seconds by which a clock may be put right without more ado."""

_STEPS = 64
"""Pauses after this many tries are as good as the longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Growing pauses with a spread, so that a queue does not return in one wave. All in seconds."""

    first: float = 60.0
    factor: float = 2.0
    longest: float = 3600.0
    spread: float = 0.2
    """Each pause is shortened by up to this share of itself, as chance will have it."""
    max_age: float = 5 * 86400.0
    """After this time since acceptance a refused message is given up (RFC 5321 4.5.4.1: 4-5 days)."""

    def next_attempt(self, *, now: float, attempts: int, chance: float) -> float:
        """Return the time of the next try after ``attempts`` (>= 1) tries; ``chance`` is in [0, 1)."""
        longest = min(self.longest, FARTHEST)
        pause = min(self.first, longest)
        # Step by step and bounded each time: a power of the factor would overflow.
        for _ in range(min(attempts - 1, _STEPS)):
            pause = min(pause * self.factor, longest)
        return now + pause * (1 - self.spread * chance)

    def expired(self, *, accepted_at: float, now: float) -> bool:
        """Tell whether a message accepted then is too old to be tried once more."""
        return now - accepted_at >= self.max_age


def is_due(when: float | None, now: float) -> bool:
    """Tell whether a message to be tried at ``when`` (None: at once) may be tried now.

    A time further off than any pause was not set by this clock (a dead battery, a restored backup):
    such a message is due, so that no clock can strand mail.
    """
    return when is None or when <= now or when > now + FARTHEST


def was_set_back(written: float, now: float) -> bool:
    """Tell whether the clock shows a time clearly before one that it has written: no other is true then."""
    return written > now + _CLOCK_SLACK
