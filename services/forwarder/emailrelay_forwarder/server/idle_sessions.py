"""Sessions kept open for the next message, and closed when none comes."""

import asyncio
from typing import NamedTuple

from emailrelay_forwarder.session.smtp_client import Session

IDLE = 5.0
"""Seconds that a session is kept without use: servers dislike idle clients, and limit their number."""
LOOK = 0.2
"""Seconds between looks whether another process waits for a connection of the same route."""
MOST_MESSAGES = 1000
"""Messages over one session; then a new one, which spreads the load over the server's addresses."""
PARTING = 1.0
"""Seconds to wait for the answer to QUIT."""


class _Kept(NamedTuple):
    session: Session
    owner: str


class IdleSessions:
    """The idle sessions of one route, the most recently used one first.

    Each belongs to whoever used it last, by name; nobody in particular is ``""``.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: list[_Kept] = []
        self._parting: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Count the idle sessions."""
        return len(self._idle)

    def take(self, owner: str, *, anybodys: bool) -> Session | None:
        """Take a session that still stands: the owner's own, or nobody's, or ``anybodys``.

        Those that the server has closed meanwhile are dropped.
        """
        while (place := self._place(owner, anybodys=anybodys)) is not None:
            session = self._idle.pop(place).session
            if session.usable:
                return session
            session.abort()
        return None

    def _place(self, owner: str, *, anybodys: bool) -> int | None:
        for wanted in (owner, ""):
            for place in reversed(range(len(self._idle))):
                if self._idle[place].owner == wanted:
                    return place
        # The one unused for longest: its owner has most probably gone.
        return 0 if anybodys and self._idle else None

    def keep(self, session: Session, owner: str) -> None:
        """Keep a session for later, unless it has served long enough."""
        if not session.usable:
            session.abort()
        elif session.messages >= MOST_MESSAGES or _wanted_elsewhere(session):
            self._part(session)
        else:
            session.idle_since = self._loop.time()
            self._idle.append(_Kept(session, owner))
            if self._timer is None:
                self._timer = self._loop.call_later(_pause(session), self._tidy)

    async def close(self) -> None:
        """Part from all of them, and wait until that is done."""
        if self._timer is not None:
            self._timer.cancel()
        while self._idle:
            self._part(self._idle.pop().session)
        if self._parting:
            await asyncio.wait(self._parting)

    def _tidy(self) -> None:
        self._timer = None
        # The list is in the order of last use, for it is added to at its end only.
        while self._idle and self._idle[0].session.idle_since + IDLE <= self._loop.time() + 0.001:
            self._part(self._idle.pop(0).session)
        for kept in [kept for kept in self._idle if _wanted_elsewhere(kept.session)]:
            self._idle.remove(kept)
            self._part(kept.session)
        if self._idle:
            oldest = self._idle[0].session
            due = min(oldest.idle_since + IDLE, self._loop.time() + _pause(oldest))
            self._timer = self._loop.call_at(due, self._tidy)

    def _part(self, session: Session) -> None:
        task = self._loop.create_task(session.quit(PARTING))
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)


def _wanted_elsewhere(session: Session) -> bool:
    return session.slot is not None and session.slot.wanted()


def _pause(session: Session) -> float:
    """Give the seconds until the next look at idle sessions: sooner if others may want their place."""
    return IDLE if session.slot is None else LOOK
