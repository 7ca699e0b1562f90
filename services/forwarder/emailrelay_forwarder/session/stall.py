"""Decides when a server has made no progress for too long."""

from collections.abc import Callable

_LOOKS, _LONGEST = 100, 1.0
"""Checks within one limit while octets are under way, and the most seconds between two."""


class Stall:
    """One wait for a server. Times in seconds of any one clock.

    The limit starts again whenever the server takes octets under way, and only then: after the last
    octet it runs once. While octets are under way, their number is checked repeatedly. So progress
    is noticed up to a hundredth of the limit late, at most a second.
    """

    __slots__ = ("_before", "_limit", "_since", "_step", "look_at")

    def __init__(self, limit: float, now: float, *, sending: bool) -> None:
        """Begin to wait.

        ``sending``: octets may be under way; when the server takes them, that is progress.
        """
        self._limit = limit
        self._since = now
        self._step = min(_LONGEST, limit / _LOOKS) if sending else None
        self._before = 0
        self.look_at = now + (self._step or limit)
        """Time of the next check."""

    @property
    def limit(self) -> float:
        """The seconds without progress after which the wait is over."""
        return self._limit

    def over(self, now: float, unsent: Callable[[], int]) -> bool:
        """Return whether the limit has passed; ``unsent`` returns the octets under way."""
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
