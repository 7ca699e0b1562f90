"""One server: how many sessions with it there may be, and whether it can be used at all.

Nothing a server does may stop mail for others, or turn into a storm of attempts:

* One that cannot be reached or does not want us is left alone for a growing pause; meanwhile its mail
  is turned away without an attempt. A probe finds out when it is back, and then everything is due.
* One that refuses a further connection beside those it has, or asks for less, gets fewer of them.
* One that keeps all its connections busy without finishing anything is passed over.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from random import random
from types import TracebackType

from emailrelay.events import Report, SignInRefused, SmarthostBack, SmarthostTrouble
from emailrelay.reply import Reply
from emailrelay.schedule import FARTHEST
from emailrelay_forwarder.server.breaker import Breaker
from emailrelay_forwarder.server.connection_limit import ConnectionLimit
from emailrelay_forwarder.server.idle_sessions import IdleSessions
from emailrelay_forwarder.server.openings import Openings
from emailrelay_forwarder.server.send_rate import SendRate
from emailrelay_forwarder.session.route import NextServer
from emailrelay_forwarder.session.session_error import NoSlot, SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session

STALLED = 10.0
"""Seconds without one finished delivery on any connection, after which no more mail waits for one."""


class TurnedAway(SessionError):
    """No attempt was made: the server's trouble is known, and has been told."""


class Smarthost:
    """The sessions with one server. ``recovered`` is called when mail turned away may come again."""

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
        """As it is configured and logged."""
        self._route = route
        self._loop = asyncio.get_running_loop()
        self._open_session = open_session
        self._limit = ConnectionLimit(most)
        self._report = report
        self._recovered = recovered
        self._breaker = Breaker()
        self._idle = IdleSessions()
        self._openings = Openings(lambda: open_session(route), self._unclaimed)
        self._slowed = 0
        """Pauses in a row for having had too much of us."""
        self._in_use = 0
        self._live = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._finished_at = 0.0
        self._turned_away_at: float | None = None
        self.send_rate = SendRate()
        """How fast it takes mail."""
        self._told = ""
        """The trouble that was told last, for as long as it lasts."""
        self._probe: asyncio.Task[None] | None = None
        self._try_now = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost by forgetting this server."""
        busy = self._in_use or self._idle or self._waiters or self._probe
        return self._openings.idle and not busy

    @property
    def paused(self) -> bool:
        """Whether mail for this server is turned away for now."""
        return self._breaker.trouble is not None

    def session(self, owner: str = "") -> "SessionUse":
        """Give a session, kept or new; it is kept on if the block ends well.

        Messages of the same ``owner`` go over the same connection one after another, and no other's
        do unless there can be no further connection.

        Raises:
            TurnedAway: the server cannot be used just now.
            SessionError: it could not be reached or does not want us; told and paused for.

        """
        return SessionUse(self, owner)

    async def take(self, owner: str) -> Session:
        """See ``session``; ``end`` follows."""
        while True:
            await self._enter()
            try:
                session = await self._opened(owner)
            except BaseException:  # cancelled, too: a turn that nobody gives back is lost
                self._leave()
                raise
            if session is not None:
                self._live += 1
                return session
            self._leave()

    def end(
        self, session: Session, owner: str, *, since: float, error: BaseException | None
    ) -> None:
        """Keep a session that was had since then if its message was answered for, else drop it."""
        try:
            if error is not None:
                self._drop(session, error)
                return
            session.used = True
            self._idle.keep(session, owner)
            self._openings.news()
            self._answered(self._loop.time() - since)
        finally:
            self._live -= 1
            self._finished_at = self._loop.time()
            self._leave()

    def _drop(self, session: Session, error: BaseException) -> None:
        session.abort()  # whatever the error was, where the dialogue stands is unknown
        if isinstance(error, SessionError):
            if _unwanted(error, session):
                self._pause(error)
            elif error.reply.code == 421 and not _parting(error, session):
                self._limit.restrained()

    def try_now(self) -> None:
        """End the pause: somebody knows better (the operator, a network that came up)."""
        self._try_now.set()

    def restrain(self) -> None:
        """Use fewer connections: the server has said that it wants less of us."""
        self._limit.restrained()

    def slow_down(self, reply: Reply) -> None:
        """Use fewer connections, and if one is too much, leave the server alone for a growing while."""
        if self._limit.now == 1:
            # A refusal is an answer, too, and so has ended what the breaker counts.
            self._breaker.failures = max(self._breaker.failures, self._slowed)
            self._slowed += 1
            self._pause(SessionError(SessionStep.MAIL, reply))
        self._limit.restrained()

    def took_mail(self) -> None:
        """Take note that the server has accepted something."""
        self._slowed = 0

    def turn_away_if_paused(self) -> None:
        """Raise TurnedAway if there would be no session now."""
        if self._breaker.trouble is not None:
            trouble = self._breaker.trouble
            raise self._turned_away(trouble.reply, ours=trouble.ours)

    async def close(self) -> None:
        """Part from the server."""
        if (probe := self._probe) is not None:
            probe.cancel()
            await asyncio.wait([probe])
        await self._openings.close()
        await self._idle.close()

    async def _opened(self, owner: str) -> Session | None:
        """Give a kept or a new session, or None: the server wants no further one beside the others."""
        try:
            return await self._openings.session(
                partial(self._idle_session, owner), self.turn_away_if_paused, first=not self._live
            )
        except TurnedAway:
            raise
        except SessionError as trouble:
            if self._one_too_many(trouble):
                return None
            if isinstance(trouble, NoSlot):
                raise self._turned_away(trouble.reply, ours=True) from trouble
            self._pause(trouble)
            raise

    def _one_too_many(self, trouble: SessionError) -> bool:
        """Note that there is no further session beside those there are; False: there are none."""
        others = self._live + len(self._idle)
        if others and isinstance(trouble, NoSlot):
            self._limit.crowded(others)
        elif others:
            self._limit.refused(others)
        return bool(others)

    def _unclaimed(self, opening: asyncio.Task[Session]) -> None:
        """Take what became of an opening that no message waits for any more."""
        if opening.cancelled():
            return
        try:
            self._idle.keep(opening.result(), "")
        except SessionError as trouble:
            self._one_too_many(trouble)

    def _idle_session(self, owner: str) -> Session | None:
        connections = self._in_use + len(self._idle) + self._openings.spare
        return self._idle.take(owner, anybodys=connections > self._limit.now)

    async def _enter(self) -> None:
        """Wait for one of the connections that may be used."""
        self.turn_away_if_paused()
        while self._in_use >= self._limit.now:
            rest = self._finished_at + STALLED - self._loop.time()
            if rest <= 0:
                text = (
                    f"this relay waits: all {self._limit.now} connections to {self.name} are busy"
                )
                raise self._turned_away(Reply(451, f"4.4.5 {text}"), ours=True)
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            timer = self._loop.call_later(rest, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif self._in_use < self._limit.now:
                    self._wake_next()  # cancelled with the turn in hand
            self.turn_away_if_paused()
        if self._in_use == 0:
            self._finished_at = self._loop.time()
        self._in_use += 1
        if self._in_use < self._limit.now:
            self._wake_next()

    def _leave(self) -> None:
        self._in_use -= 1
        self._wake_next()

    def _wake_next(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if _wake(waiter):
                return

    def _answered(self, seconds: float) -> None:
        """Take note that the server has answered for a message, whatever it said."""
        self._limit.answered(seconds, waiting=bool(self._waiters))
        self._breaker.recovered()
        if self._probe is not None:
            self.try_now()
        elif self._turned_away_at is not None:
            self._call_back()

    def _turned_away(self, reply: Reply, *, ours: bool) -> TurnedAway:
        if self._turned_away_at is None:
            self._tell(SmarthostTrouble, str(reply))
        self._turned_away_at = self._loop.time()
        return TurnedAway(SessionStep.CONNECT, reply, ours=ours)

    def _call_back(self) -> None:
        """Make due what was turned away."""
        self._turned_away_at = None
        self._told = ""
        self._report(SmarthostBack(peer=self.name))
        self._recovered()

    def _pause(self, trouble: SessionError) -> None:
        if self._probe is not None:
            return
        pause = self._breaker.failed(trouble, chance=random())  # noqa: S311 -- a spread, no secret
        # The message that ran into it waits to be called back like those turned away from now on.
        self._tell_of(trouble)
        self._turned_away_at = self._loop.time()
        self._probe = self._loop.create_task(self._probing(pause, trouble.step))

    def _tell_of(self, trouble: SessionError) -> None:
        """Tell of a trouble, unless it is the one that was told last.

        After each pause there is one at most, so a server with ever new words fills no log.
        """
        self._tell(
            SignInRefused if trouble.step is SessionStep.AUTH else SmarthostTrouble, str(trouble)
        )

    def _tell(self, kind: type[SignInRefused | SmarthostTrouble], reason: str) -> None:
        if reason != self._told:
            self._told = reason
            self._report(kind(peer=self.name, reason=reason))

    async def _probing(self, pause: float, step: SessionStep) -> None:
        """Try to open a session after each pause, for as long as there is mail to be called back."""
        session: Session | None = None
        try:
            while session is None and self._loop.time() - (self._turned_away_at or 0.0) < FARTHEST:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._try_now.wait()
                self._try_now.clear()
                try:
                    session = await self._open_session(self._route)
                except SessionError as trouble:
                    pause = self._breaker.failed(trouble, chance=random())  # noqa: S311 -- as above
                    step = trouble.step
                    self._tell_of(trouble)
        finally:
            self._probe = None
            self._breaker.try_again()
        if session is not None:
            self._idle.keep(session, "")
            # Trouble that comes only after the opening is not over because that works: then mail comes
            # at its own times, until a message is answered for.
            if step in _OPENING:
                self._call_back()


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
        """Give it back, or drop it."""
        self._smarthost.end(self._session, self._owner, since=self._since, error=error)


def _wake(waiter: asyncio.Future[None]) -> bool:
    """Let a waiter go on; False: it does already."""
    if waiter.done():
        return False
    waiter.set_result(None)
    return True


_OPENING = frozenset(
    {
        SessionStep.CONNECT,
        SessionStep.GREETING,
        SessionStep.EHLO,
        SessionStep.STARTTLS,
        SessionStep.TLS,
        SessionStep.AUTH,
    }
)


def _unwanted(trouble: SessionError, session: Session) -> bool:
    """Tell whether the server sent us away before it had done anything for us."""
    return trouble.reply.code == 421 and trouble.step is SessionStep.MAIL and not session.used


def _parting(trouble: SessionError, session: Session) -> bool:
    """Tell whether the server only ended a session that had been kept (its idle limit, its share)."""
    return session.used and trouble.step in {SessionStep.RSET, SessionStep.MAIL}
