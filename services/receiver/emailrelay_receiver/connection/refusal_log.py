"""Bound the log lines that clients can cause at will: some a second, and a count of the others."""

import asyncio

from emailrelay.events.event import Report
from emailrelay.events.receiving import MoreTrouble, Rejected, SessionTrouble

_LINES = 20
_SECOND = 1.0


class RefusalLog:
    """Reports refusals and broken sessions: at most ``_LINES`` a second, whatever they say."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = 0
        self._refusals = 0
        self._sessions = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, event: Rejected | SessionTrouble) -> None:
        """Report an event, or count it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SECOND, self._next_second)
        if self._told < _LINES:
            self._told += 1
            self._report(event)
        elif isinstance(event, Rejected):
            self._refusals += 1
        else:
            self._sessions += 1

    def close(self) -> None:
        """Report the present count."""
        if self._timer is not None:
            self._timer.cancel()
            self._next_second()

    def _next_second(self) -> None:
        self._timer = None
        self._told = 0
        refusals, self._refusals = self._refusals, 0
        sessions, self._sessions = self._sessions, 0
        if refusals or sessions:
            self._report(MoreTrouble(refusals=refusals, sessions=sessions))
