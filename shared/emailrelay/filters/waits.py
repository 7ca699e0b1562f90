"""Ends waits for filters that take too long, with one timer for all of them.

``asyncio.timeout`` sets a timer for each wait and asks for loop and task several times, which costs
about as much as a file.
"""

import asyncio
from operator import itemgetter
from typing import Any, TypeVar

from emailrelay.errors import RelayError
from emailrelay.running_loop import running_loop

_T = TypeVar("_T")


class FilterTooLate(RelayError):
    """The time of a filter is over."""


class Waits:
    """The waits of one event loop."""

    def __init__(self) -> None:
        self._until: dict[asyncio.Future[Any], float] = {}
        """What is awaited, and until when by the loop's clock."""
        self._timer: asyncio.TimerHandle | None = None
        self._rings = 0.0
        """The time for which the timer is set. It stays set when a wait ends."""

    async def wait(self, awaited: "asyncio.Future[_T]", until: float) -> _T:
        """Wait for a future of the running loop, until a time by its clock.

        Raises:
            FilterTooLate: the time is over. The future has this error, too.

        """
        self._until[awaited] = until
        if self._timer is None or until < self._rings:
            self._set(until)
        try:
            return await awaited
        finally:
            del self._until[awaited]

    def _set(self, until: float) -> None:
        self.close()
        self._timer, self._rings = running_loop().call_at(until, self._ring), until

    def _ring(self) -> None:
        self._timer, now = None, running_loop().time()
        for awaited, until in sorted(self._until.items(), key=itemgetter(1)):
            if until <= now and not awaited.done():
                awaited.set_exception(FilterTooLate("the time is over"))
        later = [until for until in self._until.values() if until > now]
        if later:
            self._set(min(later))

    def close(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
