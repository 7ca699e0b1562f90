"""The times of further tries for a deferred message, and its end."""

from dataclasses import dataclass

FARTHEST = 86400.0
"""The longest pause between two tries (seconds)."""

_CLOCK_SLACK = 60.0
"""Seconds by which a clock may be set back without being called wrong."""

_STEPS = 64
"""Tries after which the pause no longer grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Growing pauses with a spread, so that a queue does not return in one wave. All in seconds."""

    first: float = 60.0
    factor: float = 2.0
    longest: float = 3600.0
    spread: float = 0.2
    """The share of a pause by which chance may shorten it."""
    max_age: float = 5 * 86400.0
    """Age at which a refused message fails (RFC 5321 4.5.4.1: 4-5 days)."""

    def next_attempt(self, *, now: float, attempts: int, chance: float) -> float:
        """Return the time of the next try after ``attempts`` (>= 1); ``chance`` is in [0, 1)."""
        longest = min(self.longest, FARTHEST)
        pause = min(self.first, longest)
        # Multiplied step by step with a bound: a power of the factor would overflow.
        for _ in range(min(attempts - 1, _STEPS)):
            pause = min(pause * self.factor, longest)
        return now + pause * (1 - self.spread * chance)

    def expired(self, *, accepted_at: float, now: float) -> bool:
        """Tell whether a message accepted then is too old for another try."""
        return now - accepted_at >= self.max_age


def is_due(when: float | None, now: float) -> bool:
    """Tell whether a message to be tried at ``when`` (None: at once) may be tried now.

    A time further away than any pause was not set by this clock (a dead battery, a restored
    backup). Such a message is due, so that no wrong clock can keep mail back.
    """
    return when is None or when <= now or when > now + FARTHEST


def was_set_back(written: float, now: float) -> bool:
    """Tell whether the clock is clearly behind a time that it has written, and so is wrong."""
    return written > now + _CLOCK_SLACK
