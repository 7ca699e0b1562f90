"""One server over time: its sessions, their number, and its pauses.

A server must not stop mail for others, and must not cause a storm of attempts:

* A server that cannot be reached, or that rejects us, gets no mail for a growing pause. Its mail is
  turned away without an attempt. A probe finds out when the server is back; then all mail is due.
* A server that refuses a further connection, or asks for less mail, gets fewer connections.
* A server that keeps all its connections busy without finishing anything is skipped.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from types import TracebackType

from emailrelay.events import Report
from emailrelay.reply import Reply
from emailrelay_forwarder.server.connection_limit import ConnectionLimit
from emailrelay_forwarder.server.connection_queue import ConnectionQueue
from emailrelay_forwarder.server.idle_sessions import IdleSessions
from emailrelay_forwarder.server.openings import Openings
from emailrelay_forwarder.server.pause import ServerPause, TurnedAway
from emailrelay_forwarder.server.send_rate import SendRate
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import NoSlot, SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session


class Smarthost:
    """The sessions with one server. ``recovered``: see ``ServerPause``."""

    def __init__(
        self,
        route: NextServer,
        open_session: Callable[[NextServer], Coroutine[None, None, Session]],
        *,
        most: int,
        report: Report,
        recovered: Callable[[], None],
    ) -> None:
        self.name = str(route)
        """The server as configured and logged."""
        open_one = partial(open_session, route)
        self._loop = asyncio.get_running_loop()
        self._limit = ConnectionLimit(most)
        self._idle = IdleSessions()
        self._openings = Openings(open_one, self._unclaimed)
        self._pause = ServerPause(
            self.name, open_one, report=report, recovered=recovered, opened=self._keep
        )
        self._queue = ConnectionQueue(self._limit, check=self._pause.check, stalled=self._all_busy)
        self._live = 0
        """Sessions with a message."""
        self.send_rate = SendRate()
        """The rate at which the server takes mail."""

    @property
    def idle(self) -> bool:
        """True if this server can be forgotten without loss."""
        busy = self._queue.in_use or self._queue or self._idle or self._pause.probing
        return self._openings.idle and not busy

    @property
    def paused(self) -> bool:
        """True if mail for this server is turned away now."""
        return self._pause.active

    def session(self, owner: str = "") -> "SessionUse":
        """Return a session, idle or new, for an ``async with`` block; it stays open after success.

        Messages of the same ``owner`` use the same connection one after another. Those of others
        use it only if there can be no further connection.

        Raises:
            TurnedAway: the server cannot be used now.
            SessionError: it cannot be reached, or rejects us; this is logged and begins a pause.

        """
        return SessionUse(self, owner)

    async def take(self, owner: str) -> Session:
        """See ``session``; ``end`` follows."""
        while True:
            await self._queue.enter()
            try:
                session = await self._opened(owner)
            except BaseException:  # cancelled as well: a place that is not given back is lost
                self._queue.leave()
                raise
            if session is not None:
                self._live += 1
                return session
            self._queue.leave()

    def end(
        self, session: Session, owner: str, *, since: float, error: BaseException | None
    ) -> None:
        """Keep a session taken at ``since`` if its message was answered for, else drop it."""
        try:
            if error is not None:
                self._drop(session, error)
                return
            session.used = True
            self._idle.keep(session, owner)
            self._openings.news()
            self._limit.answered(self._loop.time() - since, waiting=bool(self._queue))
            self._pause.answered()
        finally:
            self._live -= 1
            self._queue.finished()
            self._queue.leave()

    def _drop(self, session: Session, error: BaseException) -> None:
        session.abort()  # after any error the state of the dialogue is unknown
        if isinstance(error, SessionError):
            if _unwanted(error, session):
                self._pause.begin(error)
            elif error.reply.code == 421 and not _parting(error, session):
                self._limit.restrained()

    def try_now(self) -> None:
        """End the pause: the operator asks for it, or a network came up."""
        self._pause.try_now()

    def restrain(self) -> None:
        """Use fewer connections: the server has asked for less mail."""
        self._limit.restrained()

    def slow_down(self, reply: Reply) -> None:
        """Use fewer connections; if even one is too much, begin a growing pause."""
        if self._limit.now == 1:
            self._pause.slow_down(reply)
        self._limit.restrained()

    def took_mail(self) -> None:
        """Note that the server has accepted a message."""
        self._pause.took_mail()

    def turn_away_if_paused(self) -> None:
        """Raise TurnedAway if there would be no session now."""
        self._pause.check()

    async def close(self) -> None:
        """Close all sessions."""
        await self._pause.close()
        await self._openings.close()
        await self._idle.close()

    async def _opened(self, owner: str) -> Session | None:
        """Return an idle or a new session; None: the server refuses one beside the others."""
        try:
            return await self._openings.session(
                partial(self._idle_session, owner), self._pause.check, first=not self._live
            )
        except TurnedAway:
            raise
        except SessionError as trouble:
            if self._one_too_many(trouble):
                return None
            if isinstance(trouble, NoSlot):
                raise self._pause.turned_away(trouble.reply, ours=True) from trouble
            self._pause.begin(trouble)
            raise

    def _one_too_many(self, trouble: SessionError) -> bool:
        """Note that no session is possible beside the existing ones; False: there are none."""
        others = self._live + len(self._idle)
        if others and isinstance(trouble, NoSlot):
            self._limit.crowded(others)
        elif others:
            self._limit.refused(others)
        return bool(others)

    def _unclaimed(self, opening: asyncio.Task[Session]) -> None:
        """Take the result of an opening that no message waits for any more."""
        if opening.cancelled():
            return
        try:
            self._keep(opening.result())
        except SessionError as trouble:
            self._one_too_many(trouble)

    def _keep(self, session: Session) -> None:
        self._idle.keep(session, "")

    def _idle_session(self, owner: str) -> Session | None:
        connections = self._queue.in_use + len(self._idle) + self._openings.spare
        return self._idle.take(owner, any_owner=connections > self._limit.now)

    def _all_busy(self) -> TurnedAway:
        text = f"this relay waits: all {self._limit.now} connections to {self.name} are busy"
        return self._pause.turned_away(Reply(451, f"4.4.5 {text}"), ours=True)


class SessionUse:
    """One message's use of a session: an ``async with`` block. See ``Smarthost.session``."""

    def __init__(self, smarthost: Smarthost, owner: str) -> None:
        self._smarthost = smarthost
        self._owner = owner

    async def __aenter__(self) -> Session:
        """Take the session."""
        self._session = await self._smarthost.take(self._owner)
        self._since = asyncio.get_running_loop().time()
        return self._session

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep it open, or drop it."""
        self._smarthost.end(self._session, self._owner, since=self._since, error=error)


def _unwanted(trouble: SessionError, session: Session) -> bool:
    """Tell whether the server dismissed us before it had done anything for us."""
    return trouble.reply.code == 421 and trouble.step is SessionStep.MAIL and not session.used


def _parting(trouble: SessionError, session: Session) -> bool:
    """Tell whether the server only ended an old session, after some time or messages."""
    return session.used and trouble.step in {SessionStep.RSET, SessionStep.MAIL}
