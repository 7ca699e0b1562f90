"""The session's questions to the address verifier."""

import asyncio
from typing import assert_never

from emailrelay.events import VerifierTrouble
from emailrelay.reply import Reply
from emailrelay_receiver.clients.verifier import NoVerifierAnswer, Verifier
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.arguments import is_mailbox
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import Goodbye, VerifyAddress
from emailrelay_receiver.dialogue.verifier_answer import Drop, Local, Remote, Unknown
from emailrelay_receiver.session.arrival import CLOSING_DOWN

_CANNOT_SAY = Reply(451, "4.4.3 cannot check the address now, try again later")


class AddressCheck:
    """Asks about one address at a time; the end of the service can ``cancel`` the question."""

    __slots__ = ("_asking", "_channel", "_context", "_dialogue")

    def __init__(
        self, context: ReceiverContext, channel: ClientChannel, dialogue: SmtpDialogue
    ) -> None:
        self._context = context
        self._channel = channel
        self._dialogue = dialogue
        self._asking: asyncio.Task[Reply | None] | None = None

    async def run(self, asked: VerifyAddress) -> Reply | Goodbye:
        """Ask about an address and return the reply.

        Raises:
            EOFError: the verifier wants the connection dropped, which is done.

        """
        if self._context.verifier is None:
            return self._dialogue.verified(asked, Remote())
        self._channel.limits.phase = Phase.ASKING
        self._asking = asyncio.create_task(self._ask(asked, self._context.verifier))
        try:
            await asyncio.wait((self._asking,))
            reply = Goodbye(CLOSING_DOWN) if self._asking.cancelled() else self._asking.result()
        finally:
            self._asking = None
            self._channel.limits.phase = Phase.WORKING
        if reply is not None:
            return reply
        self._channel.log.trouble("the address verifier wants the connection dropped")
        self._channel.abort()
        raise EOFError

    def cancel(self) -> None:
        """End the question; the session ends with it."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, asked: VerifyAddress, verifier: Verifier) -> Reply | None:
        """Return the reply; None: drop the connection."""
        try:
            answer = await verifier.ask(self._question(asked))
        except NoVerifierAnswer as error:
            self._trouble(verifier, str(error))
            return _CANNOT_SAY
        match answer:
            case Local() | Remote():
                given = answer.mailbox if isinstance(answer, Local) else answer.address
                # VRFY has no SMTPUTF8, and no mail goes to the address in the answer.
                utf8 = self._dialogue.mail.parameters.utf8 or asked.request is None
                if given and not is_mailbox(given, utf8=utf8):
                    reason = f"gave {given!r} for {asked.address!r}: no address of this message"
                    self._trouble(verifier, reason)
                    return _CANNOT_SAY
                return self._dialogue.verified(asked, answer)
            case Unknown(reply, diagnostic):
                if diagnostic:
                    self._trouble(verifier, diagnostic)
                return reply
            case Drop():
                return None
            case _:
                assert_never(answer)

    def _question(self, asked: VerifyAddress) -> tuple[str, ...]:
        """Return the fields of the question: see ``Verifier.ask``."""
        standing, log = self._dialogue.standing, self._channel.log
        sender = self._dialogue.mail.sender if asked.request is not None else None
        return (
            asked.address,
            sender or "",
            f"{log.client}:{log.port}" if log.port else log.client,
            self._context.offer.domain,
            standing.mechanism or "none",
            standing.user or standing.trusted or "",
        )

    def _trouble(self, verifier: Verifier, reason: str) -> None:
        self._context.report(VerifierTrouble(verifier=verifier.spec[0], reason=reason))
