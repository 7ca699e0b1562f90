"""One client's session on the wire: aiosmtpd's protocol with a dialogue and a content reader of ours.

Of aiosmtpd stand the connection, its encryption and its mechanisms of authentication. Reading commands
and content is ours: aiosmtpd reads content line by line into memory, answers errors of ours with 500
and their text, and cancels the session, a commit in it included, when a client goes away.
"""

import asyncio
import logging
import secrets
import traceback
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import AnyStr, assert_never

from aiosmtpd.smtp import SMTP

from emailrelay.ack import Ack
from emailrelay.events import Received, Rejected, SessionTrouble, Traceback
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay_receiver.dialogue import TOO_LONG, Dialogue, Goodbye, Lines, Outcome, TakeContent
from emailrelay_receiver.filing import Filing
from emailrelay_receiver.house import House
from emailrelay_receiver.intake import LIMIT, Intake, LineTooLong
from emailrelay_receiver.policy import is_local

# Its lines hold raw commands, and each costs time even when nobody reads them. Our log is the events.
logging.getLogger("mail.log").disabled = True

_MANY_REPLIES = 4096
"""Octets of answers to pipelined commands after which other sessions get their turn."""

_GO_AHEAD = Reply(354, "end with <CRLF>.<CRLF>")
_LOCAL_ONLY = Reply(554, "5.7.1 only for clients on this machine")
_CLOSING_DOWN = Reply(421, "4.3.2 closing down, try again later")
_SILENT = Reply(421, "4.4.2 nothing heard for too long")
_LASTED = Reply(421, "4.4.2 this took too long")
_ENDLESS = Reply(421, "4.7.0 endless line")
_NOT_PASSED_ON = Reply(451, "4.4.0 the next mail server has not answered, try again later")
_OUR_ERROR = Reply(451, "4.3.0 an error of ours, try again later")


class Phase(Enum):
    """What the session is at; decides what a time limit or the end of the service may cut."""

    LISTENING = auto()
    """Waits for the client's next command."""
    RECEIVING = auto()
    """Waits for more of a message's content."""
    WRITING = auto()
    """Puts what has come of the content into the store."""
    AWAITING = auto()
    """Waits for the filters' verdict or the next server's reply to a message."""
    WORKING = auto()
    """Does what the client waits for: answers a command, commits a message."""


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
        self._intake = Intake(limit=LIMIT, loop=loop)
        asyncio.StreamReaderProtocol.__init__(
            self, self._intake, self._cb_client_connected, loop=loop
        )
        self.phase = Phase.WORKING
        self.client = ""
        self._name = secrets.token_hex(8) if house.ack is Ack.DELIVERED else ""
        self._house = house
        self._place = place
        self._came = came
        self._ended = ended
        self._dialogue = Dialogue(house.offer)
        self._replies = bytearray()
        self._since = self._began = loop.time()
        self._content_began = 0.0
        self._left = False

    def __dir__(self) -> Iterable[str]:
        """Hide everything: aiosmtpd looks for commands and hooks by name, in each new session anew."""
        return ()

    # What aiosmtpd and the transport call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        super().connection_made(transport)
        self._came(self)

    def eof_received(self) -> bool | None:
        """Go on with what the client had said before it closed its side; aiosmtpd would cancel it."""
        return asyncio.StreamReaderProtocol.eof_received(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Let the session find out by reading; aiosmtpd would cancel it, and a commit in it."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        if self._original_transport is not None:
            # Under TLS; see SMTP.connection_lost.
            self._original_transport.close()
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
        self._house.report(SessionTrouble(client=self.client, reason=reason))
        self._house.report(Traceback(text="".join(traceback.format_exception(error))))
        return str(_OUR_ERROR)

    def _reset_timeout(self, duration: float | None = None) -> None:
        """Start the one timer of the session, which moves itself; none is made for each command."""
        self._since = self.loop.time()
        if self._timeout_handle is None:
            pause = duration or min(self._house.idle_timeout, self._house.session_timeout)
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
        silent = self._since + self._house.idle_timeout
        match self.phase:
            case Phase.WRITING | Phase.AWAITING | Phase.WORKING:
                return self.loop.time() + self._house.idle_timeout, _SILENT
            case Phase.LISTENING:
                lasted = self._began + self._house.session_timeout
            case Phase.RECEIVING:
                lasted = self._content_began + self._house.session_timeout
            case _:
                assert_never(self.phase)
        return (lasted, _LASTED) if lasted < silent else (silent, _SILENT)

    async def _handle_client(self) -> None:
        self.client, refusal = self._whose()
        try:
            if refusal is not None:
                self._answer("CONNECT", refusal)
                await self._flush()
                return
            try:
                await self._converse()
            finally:
                self._house.admission.leave(self.client)
        except (EOFError, ConnectionError) as error:
            self._gone(error)
        finally:
            self._writer.close()
            # Closing waits until the client has read what was said; the timer ends that.
            self.phase = Phase.LISTENING
            self._ended(self)

    # What the end of the service calls

    def wind_up(self) -> None:
        """End the session if nothing is under way; otherwise it ends itself after its message."""
        self._house.closing = True  # It may be the house of earlier settings.
        if self.phase is Phase.LISTENING:
            self.leave(_CLOSING_DOWN)

    def cut(self) -> None:
        """Drop whatever the client is still to send; a commit under way is left alone."""
        if self.phase is Phase.AWAITING:
            self._intake.gone.set()  # the client is answered by what is known so far
        elif self.phase is not Phase.WORKING and self.transport is not None:
            self._writer.transport.abort()

    def leave(self, reply: Reply) -> None:
        """Say this and close the connection, from outside the session's task."""
        self._left = True
        self._say(reply)
        if self._writer.transport.get_write_buffer_size():
            # A client that does not read would keep the connection for ever.
            self._writer.transport.abort()
            return
        self._writer.write(bytes(self._replies))
        self._replies.clear()
        self._writer.close()

    # The session

    def _whose(self) -> tuple[str, Reply | None]:
        """Give the client's address or socket path, and why it is not served, if so."""
        peer = self._writer.get_extra_info("peername")
        if not isinstance(peer, tuple):
            client, local = self._place or "/", True
        else:
            client = str(peer[0])  # pyright: ignore[reportUnknownArgumentType] - asyncio does not say
            local = is_local(client)
        if self._house.closing:
            return client, _CLOSING_DOWN
        if not local and not self._house.remote_clients:
            return client, _LOCAL_ONLY
        return client, self._house.admission.enter(client)

    async def _converse(self) -> None:
        self._say(Reply(220, self._house.greeting))
        while not self._house.closing:
            try:
                line = await self._next_line()
            except LineTooLong as error:
                self._answer("", TOO_LONG if error.ended else _ENDLESS)
                if error.ended:
                    continue
                await self._flush()
                return
            try:
                outcome = self._hear(line)
                if isinstance(outcome, TakeContent):
                    outcome = await self._take_mail()
            except (EOFError, ConnectionError):
                raise
            except Exception as error:  # noqa: BLE001 - one client's trouble must not end the others' service
                reply = Reply.parse(await self.handle_exception(error))
                # In the middle of content nobody knows any more where the commands begin again.
                outcome = reply if self.phase is Phase.WORKING else Goodbye(reply)
            if not self._act(line, outcome):
                await self._flush()
                return
        self._say(_CLOSING_DOWN)
        await self._flush()

    async def _next_line(self) -> bytes:
        line = self._intake.waiting_line()
        if line is None:
            await self._listen(Phase.LISTENING)
            line = await self._intake.line()
            self._heard(Phase.WORKING)
            return line
        if len(self._replies) > _MANY_REPLIES:
            await self._flush()
            await asyncio.sleep(0)
        return line

    async def _listen(self, phase: Phase) -> None:
        """Send what was said, and be all ear from now on."""
        await self._flush()
        self.phase = phase
        self._since = self.loop.time()

    def _heard(self, phase: Phase) -> None:
        self.phase = phase
        if self._left:
            # Told to go at the same moment: what came does not count, or it might be taken twice.
            raise EOFError

    def _hear(self, line: bytes) -> Outcome:
        if self.loop.time() > self._began + self._house.session_timeout:
            return Goodbye(_LASTED)
        return self._dialogue.hear(line)

    def _act(self, line: bytes, outcome: Reply | Lines | Goodbye) -> bool:
        """Answer; return whether the session goes on."""
        match outcome:
            case Reply():
                self._answer(_word(line), outcome)
            case Lines(code, texts):
                for text in texts[:-1]:
                    self._replies += f"{code}-{text}\r\n".encode()
                self._say(Reply(code, texts[-1]))
            case Goodbye(reply):
                self._answer(_word(line), reply)
                return False
            case _:
                assert_never(outcome)
        return True

    async def _take_mail(self) -> Reply | Goodbye:
        dialogue, house = self._dialogue, self._house
        client = "" if "client" in house.anonymous else self.client
        envelope = dialogue.envelope(client=client)
        self._say(_GO_AHEAD)
        self._content_began = self.loop.time()
        async with Filing(
            house, envelope, helo=dialogue.helo, protocol=dialogue.protocol
        ) as filing:
            while filing.rest is None:
                await self._listen(Phase.RECEIVING)
                chunk = await self._intake.content()
                self._heard(Phase.WRITING)
                await filing.take(chunk)
                if filing.hopeless and filing.refusal is not None:
                    return Goodbye(filing.refusal)
            self.phase = Phase.WORKING
            self._intake.put_back(filing.rest)
            dialogue.end_of_mail()
            queue_id = await filing.commit(self._name)
            if queue_id is None:
                return filing.refusal or _OUR_ERROR
            reply = await self._reply_to(queue_id, filing)
        if reply.accepted:
            house.report(
                Received(
                    id=queue_id,
                    sender=envelope.sender,
                    recipients=len(envelope.recipients),
                    size=filing.size,
                    client=self.client,
                )
            )
        return reply

    async def _reply_to(self, queue_id: QueueId, filing: Filing) -> Reply:
        """Give the answer to a committed message, as soon as it may be given."""
        queued = Reply(250, f"2.0.0 Ok: queued as {queue_id}")
        if self._house.ack is Ack.STORED:
            return queued
        self.phase = Phase.AWAITING
        answer = await filing.answer(self._intake.gone)
        self.phase = Phase.WORKING
        if self._house.ack is Ack.FILTERED:
            # Without a verdict it is ordinary mail: durable, and filtered when filterd is back.
            return queued if answer is None or answer.accepted else answer
        return answer or _NOT_PASSED_ON

    def _answer(self, command: str, reply: Reply) -> None:
        """Say a reply, and tell the log if it is a refusal."""
        self._say(reply)
        if reply.code >= 400:
            self._house.report(Rejected(command=command, reply=str(reply), client=self.client))

    def _say(self, reply: Reply) -> None:
        self._replies += f"{reply}\r\n".encode()

    async def _flush(self) -> None:
        """Send the replies that wait: those to pipelined commands together, each in one piece."""
        if self._replies:
            self._writer.write(bytes(self._replies))
            self._replies.clear()
            # A client that does not read is waited for like one that does not speak.
            phase, self.phase = self.phase, Phase.LISTENING
            self._since = self.loop.time()
            await self._writer.drain()
            self._heard(phase)

    def _gone(self, error: EOFError | ConnectionError) -> None:
        if self._left:
            return
        if self.phase is not Phase.LISTENING or self._dialogue.sender is not None:
            self._trouble(f"the client went away in the middle: {type(error).__name__}")

    def _trouble(self, reason: str) -> None:
        self._house.report(SessionTrouble(client=self.client, reason=reason))


def _word(line: bytes) -> str:
    """Give a command's first word for the log."""
    return line.partition(b" ")[0][:20].decode("ascii", "backslashreplace").upper()
