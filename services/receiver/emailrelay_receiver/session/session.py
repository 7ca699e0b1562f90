"""One client's session on the wire: aiosmtpd's protocol with a dialogue and a content reader of ours.

Of aiosmtpd stand the connection, its encryption and its mechanisms of authentication. Reading commands
and content is ours: aiosmtpd reads content line by line into memory, answers errors of ours with 500
and their text, and cancels the session, a commit in it included, when a client goes away.
"""

import asyncio
import logging
import socket
import ssl
import traceback
from collections.abc import Callable, Iterable
from typing import AnyStr, assert_never, cast

from aiosmtpd.smtp import SMTP

from emailrelay.events import Dialogue as Spoken
from emailrelay.events import Direction, Rejected, SessionTrouble, Traceback, Vanished
from emailrelay.reply import Reply
from emailrelay_receiver.clients.peer_address import caller_of
from emailrelay_receiver.clients.source import source_of
from emailrelay_receiver.clients.tls_context import client_certificate, shake_hands
from emailrelay_receiver.connection.client_input import LIMIT, Intake, LineTooLong
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.connection.wire import Inflow
from emailrelay_receiver.content.transfer import Taking
from emailrelay_receiver.context import House
from emailrelay_receiver.dialogue.access import ClientStanding, is_lenient_with
from emailrelay_receiver.dialogue.arguments import is_local
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import (
    AskAbout,
    Authenticate,
    Goodbye,
    Lines,
    Outcome,
    StartTls,
    TakeChunk,
    TakeContent,
)
from emailrelay_receiver.dialogue.redaction import shown, word
from emailrelay_receiver.dialogue.verifier_answer import Remote
from emailrelay_receiver.session.address_check import ask_about
from emailrelay_receiver.session.log_in import log_in

# Its lines hold raw commands, and each costs time even when nobody reads them. Our log is the events.
logging.getLogger("mail.log").disabled = True

_MANY_REPLIES = 4096
"""Octets of answers to pipelined commands after which other sessions get their turn."""

_GO_AHEAD = Reply(220, "2.0.0 go ahead")
_LOCAL_ONLY = Reply(554, "5.7.1 only for clients on this machine")
_CLOSING_DOWN = Reply(421, "4.3.2 closing down, try again later")
_MAKING_ROOM = Reply(421, "4.7.0 idle, and others need the place")
_SILENT = Reply(421, "4.4.2 nothing heard for too long")
_LASTED = Reply(421, "4.4.2 this took too long")
_ENDLESS = Reply(421, "4.7.0 endless line")
_OUR_ERROR = Reply(451, "4.3.0 an error of ours, try again later")


class _NoHooks:
    """The handler that aiosmtpd wants; it searches it for hooks in each new session."""

    def __dir__(self) -> Iterable[str]:
        """Say at once that there are none."""
        return ()


_NO_HOOKS = _NoHooks()


class SmtpSession(SMTP):
    """One connection. ``came`` is told when it is made, ``ended`` when its task is done with it."""

    def __init__(
        self,
        house: House,
        *,
        place: str,
        came: Callable[["SmtpSession"], None],
        ended: Callable[["SmtpSession"], None],
    ) -> None:
        """Make a session for a connection that comes in at ``place``: the path of a unix socket, or ""."""
        loop = asyncio.get_running_loop()
        super().__init__(_NO_HOOKS, hostname=house.offer.domain, enable_SMTPUTF8=True, loop=loop)
        # Once more, with a reader of ours: aiosmtpd has no hook for it and its limit of 1001 octets
        # would pause and resume the socket at each line.
        self.intake = Intake(limit=LIMIT, loop=loop)
        asyncio.StreamReaderProtocol.__init__(
            self, self.intake, self._cb_client_connected, loop=loop
        )
        self.phase = Phase.WORKING
        self.client = ""
        self.port = 0
        self._house = house
        self._place = place
        self._came = came
        self._ended = ended
        self._gate = house.gate
        self._standing = ClientStanding()
        self._dialogue = SmtpDialogue(house.offer, self._gate.terms, self._standing, house.room)
        self._taking = Taking(house, self, self._dialogue)
        self._awaits_command = False
        self._foreheard: Outcome | None = None
        """What the line leads to that the session's task is about to read."""
        self._asking: asyncio.Task[Reply | None] | None = None
        self._replies = bytearray()
        self._since = self._began = loop.time()
        self._content_began = 0.0
        self._useful = self._began
        """When it came, or sent its latest message."""
        self._has_sent = self._has_spoken = False
        self._left = False

    def __dir__(self) -> Iterable[str]:
        """Hide everything: aiosmtpd looks for commands and hooks by name, in each new session anew."""
        return ()

    # What aiosmtpd and the transport call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        super().connection_made(transport)
        self._came(self)

    def data_received(self, data: bytes) -> None:
        """Answer a command at once if that is possible; everything else is for the session's task."""
        self._has_spoken = True
        line = self.intake.whole_line(data) if self._awaits_command else None
        if line is None or not self._answered(line):
            super().data_received(data)

    def eof_received(self) -> bool | None:
        """Go on with what the client had said before it closed its side; aiosmtpd would cancel it."""
        return asyncio.StreamReaderProtocol.eof_received(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Let the session find out by reading; aiosmtpd would cancel it, and a commit in it."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        asyncio.StreamReaderProtocol.connection_lost(self, error)
        self.transport = None

    async def push(self, status: AnyStr) -> None:
        """Send a reply at once, behind those that wait."""
        # mypy looks at it once for str and once for bytes.
        octets = status.encode() if isinstance(status, str) else status  # type: ignore[redundant-expr]
        self._replies += octets
        self._replies += b"\r\n"
        await self._flush()

    async def handle_exception(self, error: Exception) -> str:
        """Tell the log what went wrong in our own code, and the client that something did."""
        reason = f"error of ours: {type(error).__name__}: {error}"
        self._house.report(SessionTrouble(client=self.client, port=self.port, reason=reason))
        self._house.report(Traceback(text="".join(traceback.format_exception(error))))
        return str(_OUR_ERROR)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Start the one timer of the session, which moves itself; none is made for each command."""
        self._since = self.loop.time()
        if self._timeout_handle is None:
            pause = duration or min(self._house.first_mail_timeout, self._house.session_timeout)
            self._timeout_handle = self.loop.call_later(pause, self._timeout_cb)

    def _timeout_cb(self) -> None:
        now = self.loop.time()
        due, reply = self._due()
        if now < due:
            self._timeout_handle = self.loop.call_at(due, self._timeout_cb)
        else:
            self._trouble(reply.text)
            self.leave(reply)

    def _due(self) -> tuple[float, Reply]:
        """Give the time, by the loop's clock, at which patience ends, and what is said then."""
        sends = self._has_sent or self._dialogue.sender is not None or self._standing.user
        house = self._house
        silent = self._since + (house.idle_timeout if sends else house.first_mail_timeout)
        match self.phase:
            case (
                Phase.WRITING
                | Phase.AWAITING
                | Phase.ENCRYPTING
                | Phase.PAUSING
                | Phase.ASKING
                | Phase.WORKING
            ):
                return self.loop.time() + self._house.idle_timeout, _SILENT
            case Phase.LISTENING:
                lasted = self._began + self._house.session_timeout
            case Phase.RECEIVING:
                lasted = self._content_began + self._house.session_timeout
            case _:
                assert_never(self.phase)
        return (lasted, _LASTED) if lasted < silent else (silent, _SILENT)

    async def _handle_client(self) -> None:
        try:
            refusal = self._let_in()
            if refusal is not None:
                await self._turn_away(refusal)
                return
            try:
                if self._gate.at_once:
                    await self._encrypt()
                await self._converse()
            finally:
                self._house.admission.leave(self)
        except (EOFError, OSError) as error:
            self._gone(error)
        finally:
            await self._taking.drop()
            self._writer.close()
            # Closing waits until the client has read what was said; the timer ends that.
            self.phase = Phase.LISTENING
            self._ended(self)

    # What the end of the service calls

    def idle_since(self) -> float | None:
        """See ``Guest.idle_since``. What is said besides messages does not count as use."""
        quiet = self.phase in {Phase.LISTENING, Phase.ENCRYPTING, Phase.PAUSING}
        busy = self._dialogue.sender is not None or self._taking.begun
        if not quiet or busy or self._standing.user or self._left:
            return None
        return self._useful

    def make_room(self) -> None:
        """See ``Guest.make_room``."""
        self._trouble("idle, and its place was needed for another client")
        if self.phase is Phase.ENCRYPTING:
            self._left = True
            self._writer.transport.abort()
        else:
            self.leave(_MAKING_ROOM)

    def wind_up(self) -> None:
        """End the session if nothing is under way; otherwise it ends itself after its message."""
        self._house.closing = True  # It may be the house of earlier settings.
        if self.phase is Phase.LISTENING:
            self.leave(_CLOSING_DOWN)
        elif self.phase is Phase.PAUSING:
            self.intake.give_up()

    def cut(self) -> None:
        """Drop whatever the client is still to send; a commit under way is left alone."""
        if self.phase is Phase.AWAITING:
            self.intake.give_up()  # the client is answered by what is known so far
        elif self._asking is not None:
            self._asking.cancel()
        elif self.phase is not Phase.WORKING and self.transport is not None:
            self._writer.transport.abort()

    def leave(self, reply: Reply) -> None:
        """Say this and close the connection, from outside the session's task."""
        self._left = True
        self.say(reply)
        if self._writer.transport.get_write_buffer_size():
            # A client that does not read would keep the connection for ever.
            self._writer.transport.abort()
            return
        self._writer.write(bytes(self._replies))
        self._replies.clear()
        self._writer.close()

    # The session

    def _let_in(self) -> Reply | None:
        """Find out who the client is, and say why it is not served, if so.

        Raises:
            ConnectionResetError: it has gone already.

        """
        peer = self._writer.get_extra_info("peername")
        connection = self._writer.get_extra_info("socket")
        if isinstance(peer, tuple):
            self.port = self._standing.port = int(peer[1])  # pyright: ignore[reportUnknownArgumentType] - nor here
            client = str(peer[0])  # pyright: ignore[reportUnknownArgumentType] - asyncio does not say
            local = is_local(client)
        elif connection.family is socket.AF_UNIX:
            client, local = self._place or "/", True
        else:
            self.client = caller_of(connection)
            raise ConnectionResetError
        self.client = client
        self._standing.address, self._standing.private = client, local
        self._standing.trusted = trusted = self._gate.trusted(client)
        self._standing.lenient = is_lenient_with(self._gate.terms, client)
        if self._house.closing:
            return _CLOSING_DOWN
        served = local or self._house.remote_clients or self._gate.serves_strangers
        if not served and trusted is None:
            return _LOCAL_ONLY
        source = source_of(client)
        favoured = local or trusted is not None or self._house.attempts.knows(source)
        return self._house.admission.enter(self, source, now=self.loop.time(), favoured=favoured)

    async def _turn_away(self, refusal: Reply) -> None:
        self._house.troubles.tell(
            Rejected(command="CONNECT", reply=str(refusal), client=self.client, port=self.port)
        )
        if not self._gate.at_once:
            self.say(refusal)
            await self._flush()

    async def _converse(self) -> None:
        self.say(Reply(220, self._house.greeting))
        while not self._house.closing:
            try:
                line = await self._next_command()
            except LineTooLong as error:
                skipped = self._dialogue.skip(error.begin) if error.ended else Goodbye(_ENDLESS)
                if self._act(b"", skipped):
                    continue
                await self._flush()
                return
            try:
                outcome = await self._do(self._hear(line))
                await self._taking.tidy()
            except (EOFError, ConnectionError, ssl.SSLError):
                raise
            except Exception as error:  # one client's trouble must not end the others' service
                if error is self.intake.exception():
                    # Not ours: the connection broke in an unusual way.
                    raise EOFError from error
                reply = Reply.parse(await self.handle_exception(error))
                # In the middle of content nobody knows any more where the commands begin again.
                outcome = reply if self.phase is Phase.WORKING else Goodbye(reply)
            if not self._act(line, outcome):
                await self._flush()
                return
        self.say(_CLOSING_DOWN)
        await self._flush()

    async def _do(self, outcome: Outcome) -> Reply | Lines | Goodbye | None:
        """Do what a command leads to; give what is still to be said, None: nothing."""
        match outcome:
            case Reply() | Lines() | Goodbye():
                return outcome
            case TakeContent() | TakeChunk():
                return await self._take(outcome)
            case StartTls():
                await self._encrypt(_GO_AHEAD)
                return None
            case Authenticate():
                return await self._log_in(outcome)
            case AskAbout():
                return await self._ask_about(outcome)
            case _:
                assert_never(outcome)

    async def _take(self, outcome: TakeContent | TakeChunk) -> Reply | Goodbye:
        try:
            if isinstance(outcome, TakeContent):
                reply = await self._taking.data()
            else:
                reply = await self._taking.chunk(outcome)
            if isinstance(reply, Reply) and reply.accepted and not self._taking.begun:
                self._dialogue.taken()
            return reply
        finally:
            self._useful = self.loop.time()

    async def _encrypt(self, first: Reply | None = None) -> None:
        """Shake hands; what was said before does not count any more (RFC 3207 section 4.2)."""
        context = self._gate.context
        if context is None:
            raise EOFError
        self._pause()
        early = self.intake.take_all()
        transport = self._pause()  # emptying a full buffer lets it flow again
        if first is not None:
            early = b""
            self.say(first)
            await self._flush()
        self.phase = Phase.ENCRYPTING
        self._over_ssl = True
        try:
            tls = await shake_hands(transport, self, context, early)
        except (OSError, EOFError) as error:
            if not self._has_spoken and isinstance(error, ConnectionResetError | EOFError):
                raise
            self._left = True
            self._trouble(f"no TLS handshake: {_said(error)}")
            raise
        if tls is None:
            raise EOFError
        self.transport = self._transport = tls
        # A second writer would close the connection when the first one is forgotten.
        setattr(self._writer, "_transport", tls)  # noqa: B010 - no public way, as in aiosmtpd
        self.intake.come_by(tls)
        self._standing.encrypted = True
        self._standing.certificate = client_certificate(tls.get_extra_info("ssl_object"))
        self._dialogue.start_anew()
        self.heard(Phase.WORKING)

    def _pause(self) -> asyncio.Transport:
        transport = self._both_ways()
        transport.pause_reading()
        return transport

    def _both_ways(self) -> asyncio.Transport:
        # Of TCP and unix sockets it goes both ways; uvloop's derive from no class of asyncio's.
        return cast("asyncio.Transport", self._writer.transport)

    async def _log_in(self, wanted: Authenticate) -> Reply | Goodbye:
        async def ask(prompt: Reply) -> bytes:
            # With the blank even if nothing follows (RFC 4954 section 4).
            self._send(f"{prompt.code} {prompt.text}")
            return await self._next_line(secret=True)

        async def pause(seconds: float) -> None:
            self.phase = Phase.PAUSING
            await asyncio.wait((self.intake.gone,), timeout=seconds)
            self.phase = Phase.WORKING

        try:
            return await log_in(self._house, self._standing, wanted, ask, pause)
        except LineTooLong:
            return Goodbye(_ENDLESS)

    async def _ask_about(self, asked: AskAbout) -> Reply | Goodbye:
        if self._house.verifier is None:
            return self._dialogue.verified(asked, Remote())
        peer = self._writer.get_extra_info("peername")
        port = f":{peer[1]}" if isinstance(peer, tuple) else ""
        self.phase = Phase.ASKING
        self._asking = asyncio.create_task(
            ask_about(
                asked,
                self._house.verifier,
                self._house,
                self._dialogue,
                peer=f"{self.client}{port}",
            )
        )
        try:
            await asyncio.wait((self._asking,))
            reply = Goodbye(_CLOSING_DOWN) if self._asking.cancelled() else self._asking.result()
        finally:
            self._asking = None
            self.phase = Phase.WORKING
        if reply is not None:
            return reply
        self._trouble("the address verifier wants the connection dropped")
        self._left = True
        self._writer.transport.abort()
        raise EOFError

    async def _next_command(self) -> bytes:
        self._awaits_command = True
        try:
            return await self._next_line()
        finally:
            self._awaits_command = False

    def _answered(self, line: bytes) -> bool:
        """Answer a command while the session's task sleeps on: waking it costs more than the answer."""
        waits = self._taking.begun or self._writer.transport.get_write_buffer_size()
        if waits or self._left or self._house.closing or self._house.talk:
            return False
        try:
            outcome = self._hear(line)
        except Exception:  # noqa: BLE001 - the task hears it again, and knows what is to be said
            return False
        if not isinstance(outcome, Lines) and not (isinstance(outcome, Reply) and outcome.accepted):
            self._foreheard = outcome
            return False
        self._act(line, outcome)
        self._send_replies()
        return True

    async def _next_line(self, *, secret: bool = False) -> bytes:
        line = await self._line()
        if self._house.talk:
            self._tell(Direction.RECEIVED, "***" if secret else shown(line))
        return line

    async def _line(self) -> bytes:
        line = self.intake.waiting_line()
        if line is None:
            await self.listen(Phase.LISTENING)
            line = await self.intake.line()
            self.heard(Phase.WORKING)
            return line
        if len(self._replies) > _MANY_REPLIES:
            await self._flush()
            await asyncio.sleep(0)
        return line

    def begin_content(self) -> None:
        """See ``Ear.begin_content``."""
        self._content_began = self._useful = self.loop.time()
        self._has_sent = True

    async def listen(self, phase: Phase) -> None:
        """See ``Ear.listen``."""
        await self._flush()
        self.phase = phase
        self._since = self.loop.time()

    async def pour(self, take: Callable[[memoryview], bool]) -> None:
        """See ``Ear.pour``."""

        def taken(octets: memoryview) -> bool:
            self._since = self.loop.time()
            return take(octets)

        await self.listen(Phase.RECEIVING)
        if self.intake.dry:
            await Inflow(self, taken).run(self._both_ways(), self.intake.gone)
        self.heard(Phase.WRITING)

    def heard(self, phase: Phase) -> None:
        """See ``Ear.heard``."""
        self.phase = phase
        if self._left:
            # Told to go at the same moment: what came does not count, or it might be taken twice.
            raise EOFError

    def _hear(self, line: bytes) -> Outcome:
        known, self._foreheard = self._foreheard, None
        if known is not None:
            return known
        if self.loop.time() > self._began + self._house.session_timeout:
            return Goodbye(_LASTED)
        return self._dialogue.hear(line)

    def _act(self, line: bytes, outcome: Reply | Lines | Goodbye | None) -> bool:
        """Answer; return whether the session goes on."""
        match outcome:
            case None:
                pass
            case Reply():
                weighed = self._dialogue.weigh(outcome)
                if isinstance(weighed, Goodbye):
                    return self._act(line, weighed)
                self._answer(word(line), weighed)
            case Lines(code, texts):
                for text in texts[:-1]:
                    self._send(f"{code}-{text}")
                self.say(Reply(code, texts[-1]))
            case Goodbye(reply):
                self._answer(word(line), reply)
                return False
            case _:
                assert_never(outcome)
        return True

    def _answer(self, command: str, reply: Reply) -> None:
        """Say a reply, and tell the log if it is a refusal."""
        self.say(reply)
        if reply.code >= 400:
            self._house.troubles.tell(
                Rejected(command=command, reply=str(reply), client=self.client, port=self.port)
            )

    def say(self, reply: Reply) -> None:
        """See ``Ear.say``."""
        self._send(str(reply))

    def _send(self, line: str) -> None:
        self._replies += f"{line}\r\n".encode()
        if self._house.talk:
            # A challenge is no secret, but nobody reads it either.
            self._tell(Direction.SENT, "334 ***" if line.startswith("334 ") else line)

    def _tell(self, direction: Direction, line: str) -> None:
        self._house.report(Spoken(direction=direction, line=line, peer=self.client, port=self.port))

    async def _flush(self) -> None:
        """Send the replies that wait: those to pipelined commands together, each in one piece."""
        if self._replies:
            self._send_replies()
            # A client that does not read is waited for like one that does not speak.
            phase, self.phase = self.phase, Phase.LISTENING
            await self._writer.drain()
            self.heard(phase)

    def _send_replies(self) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionResetError  # uvloop would not take it for one
        self._writer.write(bytes(self._replies))
        self._replies.clear()
        self._since = self.loop.time()

    def _gone(self, error: EOFError | OSError) -> None:
        if self._left:
            return
        if not self._has_spoken:
            self._house.report(Vanished(client=self.client))
            return
        if self.phase is not Phase.LISTENING or self._dialogue.sender is not None:
            self._trouble(f"the client went away in the middle: {type(error).__name__}")

    def _trouble(self, reason: str) -> None:
        self._house.troubles.tell(SessionTrouble(client=self.client, port=self.port, reason=reason))


def _said(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    return str(reason or type(error).__name__)
