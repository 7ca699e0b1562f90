"""The conversation with one client: carry out the outcome of each command, one after the other."""

import ssl
from collections.abc import Callable
from typing import assert_never

from emailrelay.reply import Reply
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.client_input import LineTooLong
from emailrelay_receiver.connection.handshake import client_certificate
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.connection.time_limits import LASTED
from emailrelay_receiver.content.transfer import GO_AHEAD, ContentTransfer
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.commands import hear, skip
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import (
    Authenticate,
    Goodbye,
    Lines,
    Outcome,
    ReceiveChunk,
    ReceiveContent,
    StartTls,
    VerifyAddress,
)
from emailrelay_receiver.dialogue.redaction import command_word
from emailrelay_receiver.dialogue.refused_mail import refused_mail
from emailrelay_receiver.dialogue.replies import OUR_ERROR
from emailrelay_receiver.dialogue.transaction import NO_MAIL, MailTransaction
from emailrelay_receiver.session.address_check import AddressCheck
from emailrelay_receiver.session.arrival import CLOSING_DOWN
from emailrelay_receiver.session.log_in import log_in

_GO_AHEAD = Reply(220, "2.0.0 go ahead")
_ENDLESS = Reply(421, "4.7.0 line too long, closing connection")


class Conversation:
    """Commands in, replies out."""

    __slots__ = (
        "_channel",
        "_context",
        "_decided",
        "_dialogue",
        "_end",
        "address_check",
        "content",
    )

    def __init__(
        self,
        context: ReceiverContext,
        channel: ClientChannel,
        dialogue: SmtpDialogue,
        end: Callable[[], None],
    ) -> None:
        """``end`` is called at the end of a session that needs no task for it."""
        self.content = ContentTransfer(context, channel, dialogue)
        self.address_check = AddressCheck(context, channel, dialogue, self.content.session_name)
        self._context = context
        self._channel = channel
        self._dialogue = dialogue
        self._end = end
        self._decided: tuple[bytes, Outcome] | None = None
        """A line that the task need not read, and its outcome."""

    def greet(self) -> None:
        """Greet the client; a connection that is encrypted at once needs the task for that."""
        if self._context.rules.at_once:
            self._channel.wire.start()
        else:
            self._channel.reply(Reply(220, self._context.greeting))
            self._channel.send_replies()
            self._channel.rest()

    def answer_at_once(self, line: bytes) -> bool:
        """See ``WireUser.command``. A task costs more than the reply."""
        channel = self._channel
        if self.content.chunked or channel.wire.unsent or channel.left:
            return False
        if self._context.closing or channel.log.shows_lines or not channel.limits.heard():
            return False
        try:
            outcome = hear(self._dialogue, line)
        except Exception:  # noqa: BLE001 - the task repeats it, and reports the error
            return False
        if isinstance(outcome, Reply) and outcome.code < 400:
            channel.answer(outcome)
        elif isinstance(outcome, ReceiveContent):
            channel.answer(GO_AHEAD)  # first of all: the client works meanwhile
            _, message = self.content.begin_data()
            channel.expect(message.take)
            self._decided = line, outcome
        elif isinstance(outcome, Lines):
            self._reply_lines(outcome)
            channel.send_replies()
        elif isinstance(outcome, Goodbye) and outcome.reply.code < 400:
            channel.answer(outcome.reply)
            self._end()
        else:
            self._decided = line, outcome
            channel.wire.start()
        return True

    async def run(self) -> bool:
        """Answer what has arrived; return whether the session goes on: more commands may come.

        Raises:
            EOFError, OSError: the client has gone, or the session was told to end.

        """
        self._channel.go_on(Phase.WORKING)
        if self._context.rules.at_once and not self._dialogue.standing.encrypted:
            await self._encrypt()
            self._channel.reply(Reply(220, self._context.greeting))
        while self._decided or not self._context.closing:
            if self._decided or not self._channel.wire.input.is_empty():
                if await self._answer_next():
                    continue
                await self._channel.flush()
                return False
            await self._channel.flush()
            if self._channel.wire.input.is_empty() and not self._context.closing:
                self._channel.rest()
                return True
        self._channel.reply(CLOSING_DOWN)
        await self._channel.flush()
        return False

    async def _answer_next(self) -> bool:
        """Carry out the next command and add the reply; return whether the session goes on."""
        (line, decided), self._decided = self._decided or (None, None), None
        if line is None:
            try:
                line = await self._channel.line()
            except LineTooLong as error:
                skipped = skip(self._dialogue, error.begin) if error.ended else Goodbye(_ENDLESS)
                return self._reply(b"", skipped)
        mail = self._dialogue.mail  # content ends the transaction
        return self._reply(line, await self._carry_out(line, decided), mail)

    async def _carry_out(
        self, line: bytes, decided: Outcome | None
    ) -> Reply | Lines | Goodbye | None:
        """Do what a command leads to; return what is still to be said, None: nothing."""
        try:
            outcome = await self._do(self._decide(line) if decided is None else decided)
            if self.content.chunked is not None:
                await self.content.tidy()
        except (EOFError, ConnectionError, ssl.SSLError):
            raise
        except Exception as error:  # one client's trouble must not end the others' service
            if error is self._channel.wire.input.error:
                # The connection broke in an unusual way.
                raise EOFError from error
            self._channel.log.own_error(error)
            # In the middle of content it is unknown where the commands begin again.
            return OUR_ERROR if self._channel.limits.phase is Phase.WORKING else Goodbye(OUR_ERROR)
        return outcome

    def _decide(self, line: bytes) -> Outcome:
        """Return what a command line leads to."""
        if self._channel.limits.lasts_too_long:
            return Goodbye(LASTED)
        return hear(self._dialogue, line)

    async def _do(self, outcome: Outcome) -> Reply | Lines | Goodbye | None:
        match outcome:
            case Reply() | Lines() | Goodbye():
                return outcome
            case ReceiveContent():
                return await self.content.data()
            case ReceiveChunk():
                return await self.content.chunk(outcome)
            case StartTls():
                await self._encrypt(_GO_AHEAD)
                return None
            case Authenticate():
                try:
                    return await log_in(
                        self._context, self._dialogue.standing, outcome, self._channel
                    )
                except LineTooLong:
                    return Goodbye(_ENDLESS)
            case VerifyAddress():
                return await self.address_check.run(outcome)
            case _:
                assert_never(outcome)

    async def _encrypt(self, first: Reply | None = None) -> None:
        """Shake hands; earlier commands do not count any more (RFC 3207 section 4.2)."""
        context = self._context.rules.tls_context
        if context is None:
            raise EOFError
        try:
            tls = await self._channel.encrypt(context, first)
        except (OSError, EOFError) as error:
            shaking = self._channel.limits.phase is Phase.ENCRYPTING
            silent = not self._channel.wire.heard_anything
            if shaking and not (silent and isinstance(error, ConnectionResetError | EOFError)):
                self._channel.left = True
                self._channel.log.trouble(f"no TLS handshake: {_reason(error)}")
                self._channel.log.handshake(well=False)
            raise
        self._channel.log.handshake(well=True)
        self._dialogue.standing.encrypted = True
        self._dialogue.standing.certificate = client_certificate(tls)
        cipher = tls.cipher()
        self._dialogue.standing.tls = tls.version() or ""
        self._dialogue.standing.cipher = cipher[0] if cipher else ""
        self._dialogue.start_anew()
        self._channel.go_on(Phase.WORKING)

    def _reply(
        self,
        line: bytes,
        outcome: Reply | Lines | Goodbye | None,
        mail: MailTransaction = NO_MAIL,
    ) -> bool:
        """Add the reply to those that wait; return whether the session goes on.

        ``mail``: the transaction before the command.
        """
        if outcome is None:
            return True
        if isinstance(outcome, Lines):
            self._reply_lines(outcome)
            return True
        if isinstance(outcome, Reply) and outcome.code >= 400:
            outcome = self._dialogue.count_refusal(outcome)
        goes_on = isinstance(outcome, Reply)
        reply = outcome if isinstance(outcome, Reply) else outcome.reply
        self._channel.reply(reply)
        if reply.code >= 400:
            command = command_word(line)
            about = refused_mail(command, line, mail, self._dialogue.standing.user)
            self._channel.log.refused(command, reply, about)
        return goes_on

    def _reply_lines(self, lines: Lines) -> None:
        for text in lines.texts[:-1]:
            self._channel.reply_line(f"{lines.code}-{text}")
        self._channel.reply(Reply(lines.code, lines.texts[-1]))


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    return str(reason or type(error).__name__)
