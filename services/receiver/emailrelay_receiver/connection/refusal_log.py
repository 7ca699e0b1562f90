"""What clients can bring about at will, in the log: some of each second with a line, the others counted."""

import asyncio

from emailrelay.events import MoreTrouble, Rejected, Report, SessionTrouble

_LINES = 20
_SECOND = 1.0


class Troubles:
    """Tells of refusals and broken sessions, so that a flood of them does not become one of lines."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._told = 0
        self._refusals = 0
        self._sessions = 0
        self._timer: asyncio.TimerHandle | None = None

    def tell(self, event: Rejected | SessionTrouble) -> None:
        """Report it, or count it."""
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
        """Tell what has not been told."""
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
