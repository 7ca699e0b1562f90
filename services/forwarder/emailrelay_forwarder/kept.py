"""Sessions kept open for the next message, and closed when none comes."""

import asyncio

from emailrelay_forwarder.smtp_client import Session

IDLE = 5.0
"""Seconds that a session is kept without use: servers dislike idle clients, and limit their number."""
MOST_MESSAGES = 1000
"""Messages over one session; then a new one, which spreads the load over the server's addresses."""
PARTING = 1.0
"""Seconds to wait for the answer to QUIT."""


class KeptSessions:
    """The idle sessions of one route, the most recently used one first."""

    def __init__(self) -> None:
        self._idle: list[Session] = []
        self._parting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the idle sessions."""
        return len(self._idle)

    def take(self) -> Session | None:
        """Take a session that still stands; those that the server has closed meanwhile are dropped."""
        while self._idle:
            session = self._idle.pop()
            if session.usable:
                return session
            session.abort()
        return None

    def keep(self, session: Session) -> None:
        """Keep a session for later, unless it has served long enough."""
        if not session.usable:
            session.abort()
        elif session.messages >= MOST_MESSAGES:
            self._part(session)
        else:
            loop = asyncio.get_running_loop()
            session.idle_since = loop.time()
            self._idle.append(session)
            if self._timer is None:
                self._timer = loop.call_later(IDLE, self._tidy, loop)

    async def close(self) -> None:
        """Part from all of them, and wait until that is done."""
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            self._part(self._idle.pop())
        if self._parting:
            await asyncio.wait(self._parting)

    def _tidy(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        # The list is in the order of last use: it is taken from, and added to, at its end.
        while self._idle and self._idle[0].idle_since + IDLE <= loop.time() + 0.001:
            self._part(self._idle.pop(0))
        if self._idle:
            self._timer = loop.call_at(self._idle[0].idle_since + IDLE, self._tidy, loop)

    def _part(self, session: Session) -> None:
        task = asyncio.get_running_loop().create_task(session.quit(PARTING))
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)
