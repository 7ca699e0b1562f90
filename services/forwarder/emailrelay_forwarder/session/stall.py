"""The end of a wait for a server that has neither answered nor taken anything for too long."""

from collections.abc import Callable

_LOOKS, _LONGEST = 100, 1.0
"""Looks within one limit while octets are on their way, and the longest time (seconds) between two."""


class Stall:
    """One wait for a server. Times in seconds of any one clock.

    The limit begins anew whenever the server takes octets that are still on their way, and only
    then: after the last octet it runs to its end once. While octets are on their way, their number
    is looked up again and again, so progress is noticed late by a hundredth of the limit, or by a
    second.
    """

    __slots__ = ("_before", "_limit", "_since", "_step", "look_at")

    def __init__(self, limit: float, now: float, *, sending: bool) -> None:
        """Begin to wait. ``sending``: octets may be on their way, and taking them is progress."""
        self._limit = limit
        self._since = now
        self._step = min(_LONGEST, limit / _LOOKS) if sending else None
        self._before = 0
        self.look_at = now + (self._step or limit)
        """When to look next."""

    @property
    def limit(self) -> float:
        """The seconds without progress after which the wait is over."""
        return self._limit

    def over(self, now: float, unsent: Callable[[], int]) -> bool:
        """Look: tell whether the limit has passed; ``unsent`` gives the octets on their way."""
        if self._step is not None:
            left = unsent()
            if left < self._before:
                self._since = now
            self._before = left
            if left == 0:
                self._step = None
        end = self._since + self._limit
        self.look_at = end if self._step is None else min(end, now + self._step)
        return now >= end
