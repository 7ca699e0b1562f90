"""One client's session: carries out what the dialogue decides, in the order of the commands."""

import ssl
from collections.abc import Callable
from typing import assert_never

from emailrelay.reply import Reply
from emailrelay_receiver.clients.source import source_of
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.client_input import LineTooLong
from emailrelay_receiver.connection.handshake import client_certificate
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.connection.session_log import SessionLog
from emailrelay_receiver.connection.time_limits import LASTED, TimeLimits
from emailrelay_receiver.connection.wire import ClientWire
from emailrelay_receiver.content.transfer import ContentTransfer
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.access import ClientStanding
from emailrelay_receiver.dialogue.commands import hear, skip
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import (
    Authenticate,
    BeginMail,
    Goodbye,
    Lines,
    Outcome,
    ReceiveChunk,
    ReceiveContent,
    StartTls,
    VerifyAddress,
)
from emailrelay_receiver.dialogue.redaction import command_word
from emailrelay_receiver.session.address_check import AddressCheck
from emailrelay_receiver.session.arrival import CLOSING_DOWN, identify, is_favoured, refusal_of
from emailrelay_receiver.session.log_in import log_in

_GO_AHEAD = Reply(220, "2.0.0 go ahead")
_MAKING_ROOM = Reply(421, "4.7.0 idle, and others need the place")
_ENDLESS = Reply(421, "4.7.0 endless line")
_OUR_ERROR = Reply(451, "4.3.0 an error of ours, try again later")


class SmtpSession:
    """One session. ``connected`` is called when its connection is made, ``ended`` when it is over."""

    def __init__(
        self,
        context: ReceiverContext,
        *,
        path: str,
        connected: Callable[["SmtpSession"], None],
        ended: Callable[["SmtpSession"], None],
    ) -> None:
        """Prepare for a connection to the unix socket at ``path``, or to TCP: ""."""
        self._context = context
        self._path = path
        self._on_connected = connected
        self._on_ended = ended
        self._log = SessionLog(
            context.report, context.refusal_log, shows_lines=context.logs_dialogue
        )
        self.wire = ClientWire(self, hostname=context.offer.domain)
        self._standing = ClientStanding()
        self._dialogue = SmtpDialogue(context.offer, context.rules.terms, self._standing)
        self._limits = TimeLimits(context.timeouts, self.wire.loop.time, self._is_sender)
        self._channel = ClientChannel(self.wire, self._limits, self._log)
        self._content = ContentTransfer(context, self._channel, self._dialogue)
        self._address_check = AddressCheck(context, self._channel, self._dialogue)
        self._awaits_command = False
        self._decided: Outcome | None = None
        """The outcome of the line that the task is about to read."""

    # For the connection.

    def connected(self) -> None:
        """See ``WireUser.connected``."""
        self._channel.begin(self._context.timeouts.shortest)
        self._on_connected(self)

    def command(self, line: bytes) -> bool:
        """See ``WireUser.command``. Waking the task costs more than the reply."""
        waits = not self._awaits_command or self._content.begun or self.wire.unsent
        if waits or self._channel.left or self._context.closing or self._log.shows_lines:
            return False
        try:
            outcome = self._decide(line)
        except Exception:  # noqa: BLE001 - the task repeats it, and reports the error
            return False
        if not isinstance(outcome, Lines) and not (isinstance(outcome, Reply) and outcome.accepted):
            self._decided = outcome
            return False
        self._reply(line, outcome)
        self._channel.send_replies()
        return True

    async def serve(self) -> None:
        """See ``WireUser.serve``."""
        try:
            identify(self.wire, self._log, self._standing, path=self._path)
            refusal = refusal_of(self._context, self._standing) or self._enter()
            if refusal is not None:
                await self._turn_away(refusal)
                return
            try:
                if self._context.rules.at_once:
                    await self._encrypt()
                await self._converse()
            finally:
                self._context.admission.leave(self)
        except (EOFError, OSError) as error:
            self._gone(error)
        finally:
            await self._content.drop()
            self.wire.close()
            # Closing waits until the client has read the replies; the timer ends that.
            self._limits.phase = Phase.LISTENING
            self._on_ended(self)

    def disconnected(self) -> None:
        """See ``WireUser.disconnected``."""
        self._channel.stop_timer()

    # For admission.

    def idle_since(self) -> float | None:
        """See ``AdmittedClient.idle_since``. Only messages count as use."""
        quiet = self._limits.phase in {Phase.LISTENING, Phase.ENCRYPTING, Phase.PAUSING}
        if not quiet or self._is_sender() or self._content.begun or self._channel.left:
            return None
        return self._limits.last_use

    def make_room(self) -> None:
        """See ``AdmittedClient.make_room``."""
        self._log.trouble("idle, and its place was needed for another client")
        if self._limits.phase is Phase.ENCRYPTING:
            self._channel.abort()
        else:
            self._channel.leave(_MAKING_ROOM)

    # For the end of the service.

    def wind_up(self) -> None:
        """End the session if nothing is under way; otherwise it ends itself after its message."""
        self._context.closing = True  # it may be a context of earlier settings
        if self._limits.phase is Phase.LISTENING:
            self._channel.leave(CLOSING_DOWN)
        elif self._limits.phase is Phase.PAUSING:
            self.wire.input.give_up()

    def cut(self) -> None:
        """Drop what the client is still to send; a commit under way continues."""
        if self._limits.phase is Phase.AWAITING:
            self.wire.input.give_up()  # the client gets the reply that fits what is known so far
        elif self._limits.phase is Phase.ASKING:
            self._address_check.cancel()
        elif self._limits.phase is not Phase.WORKING:
            self.wire.abort()

    # The session.

    def _is_sender(self) -> bool:
        return self._dialogue.mail.sender is not None or bool(self._standing.user)

    def _enter(self) -> Reply | None:
        return self._context.admission.enter(
            self,
            source_of(self._log.client),
            now=self.wire.loop.time(),
            favoured=is_favoured(self._context, self._standing),
        )

    async def _turn_away(self, refusal: Reply) -> None:
        self._log.refused("CONNECT", refusal)
        if not self._context.rules.at_once:
            self._channel.replies.add(refusal)
            await self._channel.flush()

    async def _converse(self) -> None:
        self._channel.replies.add(Reply(220, self._context.greeting))
        goes_on = True
        while goes_on and not self._context.closing:
            try:
                line = await self._next_command()
            except LineTooLong as error:
                skipped = skip(self._dialogue, error.begin) if error.ended else Goodbye(_ENDLESS)
                goes_on = self._reply(b"", skipped)
            else:
                goes_on = self._reply(line, await self._carry_out(line))
        if goes_on:
            self._channel.replies.add(CLOSING_DOWN)
        await self._channel.flush()

    async def _next_command(self) -> bytes:
        self._awaits_command = True
        try:
            return await self._channel.line()
        finally:
            self._awaits_command = False

    async def _carry_out(self, line: bytes) -> Reply | Lines | Goodbye | None:
        """Do what a command leads to; return what is still to be said, None: nothing."""
        try:
            outcome = await self._do(self._decide(line))
            await self._content.tidy()
        except (EOFError, ConnectionError, ssl.SSLError):
            raise
        except Exception as error:  # one client's trouble must not end the others' service
            if error is self.wire.input.error:
                # The connection broke in an unusual way.
                raise EOFError from error
            self._log.own_error(error)
            # In the middle of content it is unknown where the commands begin again.
            return _OUR_ERROR if self._limits.phase is Phase.WORKING else Goodbye(_OUR_ERROR)
        return outcome

    def _decide(self, line: bytes) -> Outcome:
        """Return what a command line leads to."""
        known, self._decided = self._decided, None
        if known is not None:
            return known
        if self._limits.lasts_too_long:
            return Goodbye(LASTED)
        outcome = hear(self._dialogue, line)
        if isinstance(outcome, BeginMail):
            return self._dialogue.begin_mail(outcome, room=self._context.room())
        return outcome

    async def _do(self, outcome: Outcome) -> Reply | Lines | Goodbye | None:
        match outcome:
            case Reply() | Lines() | Goodbye():
                return outcome
            case ReceiveContent() | ReceiveChunk():
                return await self._receive(outcome)
            case StartTls():
                await self._encrypt(_GO_AHEAD)
                return None
            case Authenticate():
                try:
                    return await log_in(self._context, self._standing, outcome, self._channel)
                except LineTooLong:
                    return Goodbye(_ENDLESS)
            case VerifyAddress():
                return await self._address_check.run(outcome)
            case _:
                assert_never(outcome)

    async def _receive(self, outcome: ReceiveContent | ReceiveChunk) -> Reply | Goodbye:
        try:
            if isinstance(outcome, ReceiveContent):
                reply = await self._content.data()
            else:
                reply = await self._content.chunk(outcome)
            if isinstance(reply, Reply) and reply.accepted and not self._content.begun:
                self._dialogue.message_accepted()
            return reply
        finally:
            self._limits.end_content()

    async def _encrypt(self, first: Reply | None = None) -> None:
        """Shake hands; earlier commands do not count any more (RFC 3207 section 4.2)."""
        context = self._context.rules.tls_context
        if context is None:
            raise EOFError
        try:
            tls = await self._channel.encrypt(context, first)
        except (OSError, EOFError) as error:
            shaking = self._limits.phase is Phase.ENCRYPTING
            silent = not self.wire.heard_anything
            if shaking and not (silent and isinstance(error, ConnectionResetError | EOFError)):
                self._channel.left = True
                self._log.trouble(f"no TLS handshake: {_reason(error)}")
            raise
        self._standing.encrypted = True
        self._standing.certificate = client_certificate(tls)
        self._dialogue.start_anew()
        self._channel.go_on(Phase.WORKING)

    def _reply(self, line: bytes, outcome: Reply | Lines | Goodbye | None) -> bool:
        """Add the reply to those that wait; return whether the session goes on."""
        if outcome is None:
            return True
        if isinstance(outcome, Lines):
            for text in outcome.texts[:-1]:
                self._channel.replies.add_line(f"{outcome.code}-{text}")
            self._channel.replies.add(Reply(outcome.code, outcome.texts[-1]))
            return True
        if isinstance(outcome, Reply):
            outcome = self._dialogue.count_refusal(outcome)
        reply = outcome.reply if isinstance(outcome, Goodbye) else outcome
        self._channel.replies.add(reply)
        if reply.code >= 400:
            self._log.refused(command_word(line), reply)
        return not isinstance(outcome, Goodbye)

    def _gone(self, error: EOFError | OSError) -> None:
        if self._channel.left:
            return
        if not self.wire.heard_anything:
            self._log.vanished()
        elif self._limits.phase is not Phase.LISTENING or self._dialogue.mail.sender is not None:
            self._log.trouble(f"the client went away in the middle: {type(error).__name__}")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or str(error)
    return str(reason or type(error).__name__)
