"""One client's session, from its arrival to its end."""

from collections.abc import Callable

from emailrelay.client_source import source_of
from emailrelay.reply import Reply
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.connection.session_log import SessionLog
from emailrelay_receiver.connection.time_limits import TimeLimits
from emailrelay_receiver.connection.wire import ClientWire
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.access import ClientStanding
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.session.arrival import CLOSING_DOWN, identify, is_favoured, refusal_of
from emailrelay_receiver.session.conversation import Conversation

_MAKING_ROOM = Reply(421, "4.7.0 idle connection closed for another client")


class SmtpSession:
    """One session. ``connected`` is called at its start, ``ended`` at its end."""

    __slots__ = (
        "_channel",
        "_context",
        "_conversation",
        "_dialogue",
        "_limits",
        "_log",
        "_on_connected",
        "_on_ended",
        "_path",
        "_standing",
        "command",
        "wire",
    )

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
        self._log = SessionLog(context.report, shows_lines=context.logs_dialogue)
        self.wire = ClientWire(self)
        self._standing = ClientStanding()
        self._dialogue = SmtpDialogue(
            context.offer,
            context.rules.terms,
            self._standing,
            room=context.recent_room,
            can_store=context.can_store,
        )
        self._limits = TimeLimits(context.timeouts, self.wire.loop.time, self._is_sender)
        self._channel = ClientChannel(self.wire, self._limits, self._log)
        self._conversation = Conversation(context, self._channel, self._dialogue, self._end)
        self.command = self._conversation.answer_at_once
        """See ``WireUser.command``."""

    # For the connection.

    def connected(self) -> None:
        """See ``WireUser.connected``."""
        timeouts = self._context.timeouts
        self._channel.begin(min(timeouts.first_mail, timeouts.session))
        self._on_connected(self)
        goes_on = False
        try:
            identify(self.wire, self._log, self._standing, path=self._path)
            refusal = refusal_of(self._context, self._standing) or self._enter()
            if refusal is None:
                self._conversation.greet()
                goes_on = True
            else:
                self._turn_away(refusal)
        except (EOFError, OSError) as error:
            self._gone(error)
        finally:
            if not goes_on:
                self._end()

    async def serve(self) -> None:
        """See ``WireUser.serve``."""
        goes_on = False
        try:
            goes_on = await self._conversation.run()
        except (EOFError, OSError) as error:
            self._gone(error)
        finally:
            if not goes_on:
                await self._conversation.content.drop()
                self._end()

    def disconnected(self) -> None:
        """See ``WireUser.disconnected``."""
        self._channel.stop_timer()
        if self.wire.over:
            self._context.admission.leave(self)

    # For admission.

    def idle_since(self) -> float | None:
        """See ``AdmittedClient.idle_since``. Only messages count as use."""
        if self.wire.over:
            return self._limits.last_use if self.wire.unsent else float("-inf")
        quiet = self._limits.phase in {Phase.LISTENING, Phase.ENCRYPTING, Phase.PAUSING}
        if (
            not quiet
            or self._is_sender()
            or self._conversation.content.chunked
            or self._channel.left
        ):
            return None
        return self._limits.last_use

    def make_room(self) -> None:
        """See ``AdmittedClient.make_room``."""
        if self.wire.over:
            self.wire.abort()
            return
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
            self.wire.end_pause()

    def cut(self) -> None:
        """Drop what the client is still to send; a commit under way continues."""
        if self._limits.phase is Phase.AWAITING:
            self.wire.input.give_up()  # the client gets the reply that fits what is known so far
        elif self._limits.phase is Phase.ASKING:
            self._conversation.address_check.cancel()
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

    def _turn_away(self, refusal: Reply) -> None:
        self._log.refused("CONNECT", refusal)
        if not self._context.rules.at_once:
            self._channel.reply(refusal)
            self._channel.send_replies()

    def _end(self) -> None:
        """End the session, when no message is under way.

        Its place is free when its connection is: each one costs a file descriptor.
        """
        self.wire.over = True
        self.wire.close()
        if self.wire.lingers:
            self._limits.phase = Phase.LISTENING  # the timer ends that
        else:
            self.disconnected()
        self._on_ended(self)

    def _gone(self, error: EOFError | OSError) -> None:
        if self._channel.left:
            return
        if not self.wire.heard_anything:
            self._log.vanished()
        elif self._limits.phase is not Phase.LISTENING or self._dialogue.mail.sender is not None:
            self._log.trouble(f"the client went away in the middle: {type(error).__name__}")
