"""The pause of a server that cannot be used: its mail is turned away until a probe succeeds."""

import asyncio
import contextlib
import math
import re
from collections.abc import Callable, Coroutine
from random import random

from emailrelay.events.accounts import SignInRefused
from emailrelay.events.event import Report
from emailrelay.events.servers import SmarthostBack, SmarthostTrouble
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import FARTHEST
from emailrelay_forwarder.server.breaker import Breaker
from emailrelay_forwarder.server.waiting_mail import OnRecovery, WaitingMail
from emailrelay_forwarder.session.session_error import SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session

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
_LONGEST_WISH = 5.0
"""Seconds that a message which an operator made due waits for a probe. A later result makes the
message due again, and other mail needs the task."""
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3} ")
"""An enhanced status code (RFC 3463) at the beginning of a reply's text."""


class TurnedAway(SessionError):
    """No attempt was made: the trouble of the server is known, and in the log."""


class ServerPause:
    """The pauses of one server, and the report of its trouble.

    ``recovered`` is called when mail that was turned away may come again, with that mail.
    ``opened`` gets the session of a successful probe.
    """

    def __init__(
        self,
        name: str,
        open_session: Callable[[], Coroutine[None, None, Session]],
        *,
        report: Report,
        recovered: OnRecovery,
        opened: Callable[[Session], None],
    ) -> None:
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._open_session = open_session
        self._report = report
        self._recovered = recovered
        self._opened = opened
        self._breaker = Breaker()
        self._waiting = WaitingMail()
        self._turned_away_at: float | None = None
        """Time at which mail was last turned away; None: none waits for ``recovered``."""
        self._reported = ""
        """The trouble reported last; empty: it is over."""
        self._probe: asyncio.Task[None] | None = None
        self._try_now = asyncio.Event()
        self._tried = asyncio.Event()
        """Set at the end of each attempt of the probe."""
        self._next_wish = 0.0
        """The time from which a wish makes a probe again."""

    @property
    def active(self) -> bool:
        """True if mail is turned away now."""
        return self._breaker.trouble is not None

    @property
    def trouble(self) -> str:
        """Why mail is turned away now; empty: it is not."""
        return "" if self._breaker.trouble is None else str(self._breaker.trouble)

    @property
    def probing(self) -> bool:
        """True if a probe is under way or planned."""
        return self._probe is not None

    def keep(self, message: QueueId) -> None:
        """Make a message due when the server is back, if mail waits for that now."""
        if self._turned_away_at is not None:
            self._waiting.add(message)

    def forget(self, message: QueueId) -> None:
        """Undo ``keep``: another server has answered for the message, or it is gone."""
        self._waiting.discard(message)

    def check(self) -> None:
        """Raise TurnedAway during a pause."""
        if self._breaker.trouble is not None:
            reply = self._breaker.trouble.reply
            self._note_turned_away(reply)
            raise TurnedAway(SessionStep.CONNECT, _not_tried(reply), ours=True)

    def turned_away(self, reply: Reply) -> TurnedAway:
        """Return the error for a message that gets no attempt now, and report the first of many."""
        self._note_turned_away(reply)
        return TurnedAway(SessionStep.CONNECT, reply, ours=True)

    def _note_turned_away(self, reply: Reply) -> None:
        if self._turned_away_at is None:
            self._tell(SmarthostTrouble, str(reply))
        self._turned_away_at = self._loop.time()

    def begin(self, trouble: SessionError) -> None:
        """Begin a pause, and probe the server after it."""
        if self._probe is not None:
            return
        pause = self._breaker.failed(trouble, chance=random())  # noqa: S311 -- a spread, no secret
        # Its message waits for ``recovered``, like those turned away from now on.
        self._tell_of(trouble)
        self._turned_away_at = self._loop.time()
        self._probe = self._loop.create_task(self._probing(pause, trouble.step))

    def slow_down(self, reply: Reply) -> None:
        """Begin a pause: even one connection is too much."""
        self.begin(SessionError(SessionStep.MAIL, reply))

    def took_mail(self) -> None:
        """Note that the server has accepted a message: its trouble is over."""
        self._breaker.recovered()
        if self._probe is not None:
            self.try_now()

    def answered(self) -> None:
        """Note that the server has answered for a message, whatever the answer.

        A refusal does not end a pause, nor make the next one short: a server that refuses by turns
        the connection and the mail would be asked every second.
        """
        if self._probe is None and self._turned_away_at is not None:
            self._call_back()

    def try_now(self) -> None:
        """Probe at once: the operator asks for it, or a network came up."""
        self._try_now.set()

    async def tried_now(self) -> None:
        """Probe at once for a message that the operator made due, and wait for the result.

        One message at a time does so, and the next one after the first pause of a trouble of this
        kind: many messages make no storm, and lock no account. For the others this does nothing.
        """
        if self._probe is None or self._loop.time() < self._next_wish:
            return
        self._next_wish = math.inf
        try:
            self._tried.clear()
            self.try_now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_WISH):
                    await self._tried.wait()
        finally:
            self._next_wish = self._loop.time() + self._breaker.shortest

    async def close(self) -> None:
        """End the probe."""
        if (probe := self._probe) is not None:
            probe.cancel()
            await asyncio.wait([probe])

    def _call_back(self) -> None:
        """Make the mail due that waits for this server."""
        self._turned_away_at = None
        self._reported = ""
        self._report(SmarthostBack(peer=self._name))
        self._recovered(self._waiting.take())

    def _tell_of(self, trouble: SessionError) -> None:
        """Report a trouble, unless it is the one reported last.

        There is at most one for each pause, so a server with ever new texts does not fill the log.
        """
        kind = SignInRefused if trouble.step is SessionStep.AUTH else SmarthostTrouble
        self._tell(kind, str(trouble))

    def _tell(self, kind: type[SignInRefused | SmarthostTrouble], reason: str) -> None:
        if reason != self._reported:
            self._reported = reason
            self._report(kind(peer=self._name, reason=reason))

    async def _probing(self, pause: float, step: SessionStep) -> None:
        """Open a session after each pause, as long as mail waits for the server."""
        session: Session | None = None
        try:
            while session is None and self._loop.time() - (self._turned_away_at or 0.0) < FARTHEST:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._try_now.wait()
                self._try_now.clear()
                try:
                    session = await self._open_session()
                except SessionError as trouble:
                    pause = self._breaker.failed(trouble, chance=random())  # noqa: S311 -- as above
                    step = trouble.step
                    self._tell_of(trouble)
                    self._tried.set()
        finally:
            self._probe = None
            self._tried.set()
            self._breaker.try_again()
        if session is not None:
            self._opened(session)
            # A session says nothing about trouble that comes after the opening. Then mail comes at
            # its own times until the server answers for a message.
            if step in _OPENING:
                self._call_back()


def _not_tried(reply: Reply) -> Reply:
    """Return the record for a message without a connection: an earlier one got ``reply``."""
    status = _STATUS.match(reply.text)
    begins = "" if status is None else status[0]
    return Reply.of(reply.code, f"{begins}not tried now: {reply.text.removeprefix(begins)}")
