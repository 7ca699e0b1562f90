"""The session's questions about addresses: to the address verifier, then to the next server."""

import asyncio
from typing import assert_never

from emailrelay.envelope import Address
from emailrelay.events.receiving import RecipientChecked, RecipientUnchecked, VerifierTrouble
from emailrelay.reply import Reply
from emailrelay_receiver.clients.forwarder_questions import ForwarderQuestions
from emailrelay_receiver.clients.verifier import NoVerifierAnswer, Verifier
from emailrelay_receiver.connection.channel import ClientChannel
from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.arguments import is_mailbox
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import Goodbye, VerifyAddress
from emailrelay_receiver.dialogue.verifier_answer import Drop, Local, Remote, Unknown
from emailrelay_receiver.session.arrival import CLOSING_DOWN

_MOST_QUESTIONS = 1000
"""For the next server, in one session. Further recipients are accepted, and checked at delivery."""
_CANNOT_SAY = Reply(451, "4.4.3 cannot check the address now, try again later")


class AddressCheck:
    """Asks about one address at a time; the end of the service can ``cancel`` the question."""

    __slots__ = ("_asking", "_channel", "_context", "_dialogue", "_questions", "_session")

    def __init__(
        self,
        context: ReceiverContext,
        channel: ClientChannel,
        dialogue: SmtpDialogue,
        session: str,
    ) -> None:
        self._context = context
        self._channel = channel
        self._dialogue = dialogue
        self._session = session
        self._questions = 0
        """Those to the next server so far."""
        self._asking: asyncio.Task[Reply | None] | None = None

    async def run(self, asked: VerifyAddress) -> Reply | Goodbye:
        """Ask about an address and return the reply.

        Raises:
            EOFError: the verifier wants the connection dropped, which is done.

        """
        self._channel.limits.phase = Phase.ASKING
        self._asking = asyncio.create_task(self._ask(asked))
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

    async def _ask(self, asked: VerifyAddress) -> Reply | None:
        """Return the reply; None: drop the connection."""
        found: Local | Remote | Reply | None = Remote()
        if self._context.verifier is not None:
            found = await self._known(asked, self._context.verifier)
        next_server = self._context.next_server
        if isinstance(found, Remote) and asked.request is not None and next_server is not None:
            refusal = await self._refusal(found.address or asked.address, next_server)
            found = found if refusal is None else refusal
        if isinstance(found, Local | Remote):
            return self._dialogue.verified(asked, found)
        return found

    async def _known(
        self, asked: VerifyAddress, verifier: Verifier
    ) -> Local | Remote | Reply | None:
        """Ask the address verifier; return its answer, or a refusal. None: drop the connection."""
        sender = self._dialogue.mail.sender if asked.request is not None else None
        try:
            answer = await verifier.ask(self._question(asked.address, sender=sender))
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
                return answer
            case Unknown(reply, diagnostic):
                if diagnostic:
                    self._trouble(verifier, diagnostic)
                return reply
            case Drop():
                return None
            case _:
                assert_never(answer)

    async def _refusal(self, recipient: Address, next_server: ForwarderQuestions) -> Reply | None:
        """Ask the next server about a recipient; None: it accepts, or its answer is unknown."""
        report = self._context.report
        if self._questions >= _MOST_QUESTIONS:
            reason = f"more than {_MOST_QUESTIONS} recipients in one session"
            report(RecipientUnchecked(reason=reason))
            return None
        self._questions += 1
        utf8 = "utf8" if self._dialogue.mail.parameters.utf8 else ""
        fields = self._question(recipient, sender=self._dialogue.mail.sender)
        answer = await next_server.ask((*fields, self._session, utf8))
        match answer:
            case Unknown(reply):
                result = "refused" if reply.permanent else "deferred"
                report(RecipientChecked(result=result, reply=str(reply)))
                return reply
            case Remote(diagnostic=""):
                report(RecipientChecked(result="accepted"))
            case Remote(diagnostic=reason):
                report(RecipientUnchecked(reason=reason))
        return None

    def _question(self, address: Address, *, sender: Address | None) -> tuple[str, ...]:
        """Return the fields of the question: see ``Verifier.ask``."""
        standing, log = self._dialogue.standing, self._channel.log
        return (
            address,
            sender or "",
            f"{log.client}:{log.port}" if log.port else log.client,
            self._context.offer.domain,
            standing.mechanism or "none",
            standing.user or standing.trusted or "",
        )

    def _trouble(self, verifier: Verifier, reason: str) -> None:
        self._context.report(VerifierTrouble(verifier=verifier.spec[0], reason=reason))
