"""One server over time: its sessions, their number, and its pauses.

A server must not stop mail for others, and must not cause a storm of attempts:

* A server that cannot be reached, or that rejects us, gets no mail for a growing pause. Its mail is
  turned away without an attempt. A probe finds out when the server is back; then its mail is due.
* A server that refuses a further connection, or asks for less mail, gets fewer connections.
* A server that keeps all its connections busy without finishing anything is skipped.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial

from emailrelay.events.event import Report
from emailrelay.reply import Reply
from emailrelay_forwarder.server.connection_limit import ConnectionLimit
from emailrelay_forwarder.server.connection_queue import ConnectionQueue
from emailrelay_forwarder.server.idle_sessions import IdleSessions
from emailrelay_forwarder.server.named_servers import NamedServers
from emailrelay_forwarder.server.openings import Openings
from emailrelay_forwarder.server.pause import ServerPause, TurnedAway
from emailrelay_forwarder.server.send_rate import SendRate
from emailrelay_forwarder.server.waiting_mail import OnRecovery
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import NoSlot, SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session
from emailrelay_forwarder.session.transaction_size import MOST_RECIPIENTS, TransactionSize


class Smarthost:
    """The sessions with one server. ``recovered``: see ``ServerPause``.

    ``named``: the limits for all servers that only envelopes name; None: the settings name it.
    """

    def __init__(
        self,
        route: NextServer,
        open_session: Callable[[NextServer], Coroutine[None, None, Session]],
        *,
        most: int,
        report: Report,
        recovered: OnRecovery,
        named: NamedServers | None = None,
    ) -> None:
        self.name = str(route)
        """The server as configured and logged."""
        open_one = partial(open_session, route)
        self._named = named
        self._loop = asyncio.get_running_loop()
        self.limit = ConnectionLimit(most)
        self._idle = IdleSessions()
        self._openings = Openings(open_one, self._unclaimed)
        self.pause = ServerPause(
            self.name,
            open_one if named is None else partial(named.probe, open_one),
            report=report,
            recovered=recovered,
            opened=self._idle.keep,
        )
        self._queue = ConnectionQueue(self.limit, check=self.pause.check, stalled=self._all_busy)
        self._live = 0
        """Sessions with a message."""
        self.send_rate = SendRate()
        """The rate at which the server takes mail."""
        self._size = TransactionSize()

    @property
    def idle(self) -> bool:
        """True if this server can be forgotten without loss."""
        busy = self._queue.in_use or self._queue or self._idle or self.pause.probing
        return self._openings.idle and not busy

    @property
    def sessions(self) -> int:
        """The open sessions, in use or idle."""
        return self._live + len(self._idle)

    async def take(self, owner: str) -> Session:
        """Return a session, idle or new; ``end`` must follow.

        Messages of the same ``owner`` use the same connection one after another. Those of others
        use it only if there can be no further connection.

        Raises:
            TurnedAway: the server cannot be used now.
            SessionError: it cannot be reached, or rejects us; this is logged and begins a pause.

        """
        if self._named is None or self.sessions:
            return await self._taken(owner)
        self.pause.check()
        async with self._named.place(self.pause.turned_away):
            return await self._taken(owner)

    async def _taken(self, owner: str) -> Session:
        while True:
            await self._queue.enter()
            try:
                session = self._idle_session(owner) or await self._opened(owner)
            except BaseException:  # cancelled as well: a place that is not given back is lost
                self._queue.leave()
                raise
            if session is not None:
                self._live += 1
                session.owner, session.taken_at = owner, self._loop.time()
                session.transaction_size = self._size
                if self._size.most < MOST_RECIPIENTS:
                    self._size.renew(session.taken_at)
                return session
            self._queue.leave()

    def end(self, session: Session, error: BaseException | None = None) -> None:
        """Keep a session if its message was answered for; drop it after an ``error``."""
        try:
            if error is not None:
                self._drop(session, error)
                return
            self._keep(session)
            self.limit.answered(self._loop.time() - session.taken_at, waiting=bool(self._queue))
            self.pause.answered()
        finally:
            self._live -= 1
            self._queue.finished()

    def put_back(self, session: Session, *, well: bool) -> None:
        """Keep a session that asked about a recipient, or drop it unless it went ``well``.

        The answers say nothing about messages: a server may well dismiss a client that names many
        wrong recipients, and yet take its mail.
        """
        if well:
            self._keep(session)
        else:
            session.abort()
        self._live -= 1
        self._queue.finished()

    def _keep(self, session: Session) -> None:
        session.used = True
        self._idle.keep(session)
        self._openings.news()

    def _drop(self, session: Session, error: BaseException) -> None:
        session.abort()  # after any error the state of the dialogue is unknown
        if isinstance(error, SessionError):
            if _unwanted(error, session):
                self.pause.begin(error)
            elif error.reply.code == 421 and not _parting(error, session):
                self.limit.restrained()

    def slow_down(self, reply: Reply) -> None:
        """Use fewer connections; if even one is too much, begin a growing pause."""
        if self.limit.now == 1:
            self.pause.slow_down(reply)
        self.limit.restrained()

    async def close(self) -> None:
        """Close all sessions."""
        await self.pause.close()
        await self._openings.close()
        await self._idle.close()

    async def _opened(self, owner: str) -> Session | None:
        """Return an idle or a new session; None: the server refuses one beside the others."""
        try:
            return await self._openings.session(
                partial(self._idle_session, owner), self.pause.check, first=not self._live
            )
        except TurnedAway:
            raise
        except SessionError as trouble:
            if self._one_too_many(trouble):
                return None
            if isinstance(trouble, NoSlot):
                raise self.pause.turned_away(trouble.reply) from trouble
            self.pause.begin(trouble)
            raise

    def _one_too_many(self, trouble: SessionError) -> bool:
        """Note that no session is possible beside the existing ones; False: there are none."""
        others = self._live + len(self._idle)
        if others and isinstance(trouble, NoSlot):
            self.limit.crowded(others)
        elif others:
            self.limit.refused(others)
        return bool(others)

    def _unclaimed(self, opening: asyncio.Task[Session]) -> None:
        """Take the result of an opening that no message waits for any more."""
        if opening.cancelled():
            return
        try:
            self._idle.keep(opening.result())
        except SessionError as trouble:
            self._one_too_many(trouble)

    def _idle_session(self, owner: str) -> Session | None:
        session = self._idle.take(owner)
        if session is None and self._idle:
            connections = self._queue.in_use + len(self._idle) + self._openings.spare
            if connections > self.limit.now:
                return self._idle.take_any()
        return session

    def _all_busy(self) -> TurnedAway:
        text = f"this relay waits: all {self.limit.now} connections to {self.name} are busy"
        return self.pause.turned_away(Reply(451, f"4.4.5 {text}"))


def _unwanted(trouble: SessionError, session: Session) -> bool:
    """Tell whether the server dismissed us before it had done anything for us."""
    return trouble.reply.code == 421 and trouble.step is SessionStep.MAIL and not session.used


def _parting(trouble: SessionError, session: Session) -> bool:
    """Tell whether the server only ended an old session, after some time or messages."""
    return session.used and trouble.step in {SessionStep.RSET, SessionStep.MAIL}
