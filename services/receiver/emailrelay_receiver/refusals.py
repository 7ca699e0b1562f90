"""Refused connections in the log: the first few of each second with a line, the others counted."""

import asyncio

from emailrelay.events import MoreRefused, Rejected, Report

_LINES = 10
_SECOND = 1.0


class Refusals:
    """Tells of refused connections, so that a flood of them does not become one of lines."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = 0
        self._untold = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, event: Rejected) -> None:
        """Report it, or count it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECOND, self._next_second)
        if self._told < _LINES:
            self._told += 1
            self._report(event)
        else:
            self._untold += 1

    def close(self) -> None:
        """Tell what has not been told."""
        if self._timer is not None:
            self._timer.cancel()
            self._next_second()

    def _next_second(self) -> None:
        self._timer = None
        self._told = 0
        untold, self._untold = self._untold, 0
        if untold:
            self._report(MoreRefused(connections=untold))
