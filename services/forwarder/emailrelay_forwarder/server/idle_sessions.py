"""Sessions that stay open for the next message, and are closed if none comes."""

import asyncio

from emailrelay_forwarder.session.smtp_client import Session

IDLE = 5.0
"""Seconds that a session stays idle: servers limit the number of idle clients."""
LOOK = 0.2
"""Seconds between checks whether another process waits for a connection of the same route."""
MOST_MESSAGES = 1000
"""Messages over one session. A new session then spreads the load over the server's addresses."""
PARTING = 1.0
"""Seconds to wait for the answer to QUIT."""


class IdleSessions:
    """The idle sessions with one server, in the order of their last use.

    Each belongs to its last user, by name; ``""`` is no user in particular.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: list[Session] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the idle sessions."""
        return len(self._idle)

    def take(self, owner: str) -> Session | None:
        """Take an open session: one of the owner, or else one without owner.

        Sessions that the server has closed meanwhile are dropped.
        """
        while (place := self._place(owner)) is not None:
            session = self._idle.pop(place)
            if session.usable:
                return session
            session.abort()
        return None

    def take_any(self) -> Session | None:
        """Take the session idle for longest: its owner has most probably gone."""
        while self._idle:
            session = self._idle.pop(0)
            if session.usable:
                return session
            session.abort()
        return None

    def _place(self, owner: str) -> int | None:
        for wanted in (owner, ""):
            for place in reversed(range(len(self._idle))):
                if self._idle[place].owner == wanted:
                    return place
        return None

    def keep(self, session: Session) -> None:
        """Keep a session, unless it has served long enough or its connection is needed."""
        if not session.usable:
            session.abort()
        elif session.messages >= MOST_MESSAGES or _wanted_elsewhere(session):
            self._close(session)
        else:
            session.idle_since = self._loop.time()
            self._idle.append(session)
            if self._timer is None:
                self._timer = self._loop.call_later(_pause(session), self._tidy)

    async def close(self) -> None:
        """Close all sessions, and wait until that is done."""
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            self._close(self._idle.pop())
        if self._closing:
            await asyncio.wait(self._closing)

    def _tidy(self) -> None:
        self._timer = None
        # The list is in the order of last use: sessions are added at its end only.
        while self._idle and self._idle[0].idle_since + IDLE <= self._loop.time() + 0.001:
            self._close(self._idle.pop(0))
        for session in [session for session in self._idle if _wanted_elsewhere(session)]:
            self._idle.remove(session)
            self._close(session)
        if self._idle:
            oldest = self._idle[0]
            due = min(oldest.idle_since + IDLE, self._loop.time() + _pause(oldest))
            self._timer = self._loop.call_at(due, self._tidy)

    def _close(self, session: Session) -> None:
        task = self._loop.create_task(session.quit(PARTING))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def _wanted_elsewhere(session: Session) -> bool:
    return session.slot is not None and session.slot.wanted()


def _pause(session: Session) -> float:
    """Return the seconds until the next check: fewer if other processes may need the connection."""
    return IDLE if session.slot is None else LOOK
