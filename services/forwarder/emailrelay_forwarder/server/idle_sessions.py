"""Sessions that stay open for the next message, and are closed if none comes."""

import asyncio
from typing import NamedTuple

from emailrelay_forwarder.session.smtp_client import Session

IDLE = 5.0
"""Seconds that a session stays idle: servers limit the number of idle clients."""
LOOK = 0.2
"""Seconds between checks whether another process waits for a connection of the same route."""
MOST_MESSAGES = 1000
"""Messages over one session. A new session then spreads the load over the server's addresses."""
PARTING = 1.0
"""Seconds to wait for the answer to QUIT."""


class _Idle(NamedTuple):
    session: Session
    owner: str


class IdleSessions:
    """The idle sessions with one server, in the order of their last use.

    Each belongs to its last user, by name; ``""`` is no user in particular.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Idle] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the idle sessions."""
        return len(self._idle)

    def take(self, owner: str, *, any_owner: bool) -> Session | None:
        """Take an open session: one of the owner, or one without owner, or with ``any_owner`` any.

        Sessions that the server has closed meanwhile are dropped.
        """
        while (place := self._place(owner, any_owner=any_owner)) is not None:
            session = self._idle.pop(place).session
            if session.usable:
                return session
            session.abort()
        return None

    def _place(self, owner: str, *, any_owner: bool) -> int | None:
        for wanted in (owner, ""):
            for place in reversed(range(len(self._idle))):
                if self._idle[place].owner == wanted:
                    return place
        # The one idle for longest: its owner has most probably gone.
        return 0 if any_owner and self._idle else None

    def keep(self, session: Session, owner: str) -> None:
        """Keep a session, unless it has served long enough or its connection is needed."""
        if not session.usable:
            session.abort()
        elif session.messages >= MOST_MESSAGES or _wanted_elsewhere(session):
            self._close(session)
        else:
            session.idle_since = self._loop.time()
            self._idle.append(_Idle(session, owner))
            if self._timer is None:
                self._timer = self._loop.call_later(_pause(session), self._tidy)

    async def close(self) -> None:
        """Close all sessions, and wait until that is done."""
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            self._close(self._idle.pop().session)
        if self._closing:
            await asyncio.wait(self._closing)

    def _tidy(self) -> None:
        self._timer = None
        # The list is in the order of last use: sessions are added at its end only.
        while self._idle and self._idle[0].session.idle_since + IDLE <= self._loop.time() + 0.001:
            self._close(self._idle.pop(0).session)
        for entry in [entry for entry in self._idle if _wanted_elsewhere(entry.session)]:
            self._idle.remove(entry)
            self._close(entry.session)
        if self._idle:
            oldest = self._idle[0].session
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
