"""What a session asks the address verifier, and what it makes of the answer."""

from typing import assert_never

from emailrelay.events import VerifierTrouble
from emailrelay.reply import Reply
from emailrelay_receiver.clients.verifier import NoVerifierAnswer, Verifier
from emailrelay_receiver.context import House
from emailrelay_receiver.dialogue.arguments import is_mailbox
from emailrelay_receiver.dialogue.dialogue import SmtpDialogue
from emailrelay_receiver.dialogue.outcomes import AskAbout
from emailrelay_receiver.dialogue.verifier_answer import Drop, Local, Remote, Unknown

_CANNOT_SAY = Reply(451, "4.4.3 cannot check the address now, try again later")


async def ask_about(
    asked: AskAbout, verifier: Verifier, house: House, dialogue: SmtpDialogue, *, peer: str
) -> Reply | None:
    """Ask about an address and give the reply; None: drop the connection. ``peer`` is ``ip:port``."""
    standing = dialogue.standing
    sender = dialogue.sender if asked.request is not None else None
    fields = (
        asked.address,
        sender or "",
        peer,
        house.offer.domain,
        standing.mechanism or "none",
        standing.user or standing.trusted or "",
    )
    try:
        answer = await verifier.ask(fields)
    except NoVerifierAnswer as error:
        house.report(VerifierTrouble(verifier=verifier.spec[0], reason=str(error)))
        return _CANNOT_SAY
    match answer:
        case Local() | Remote():
            given = answer.mailbox if isinstance(answer, Local) else answer.address
            # A query has no SMTPUTF8, and nothing is sent to what it is told.
            utf8 = dialogue.parameters.utf8 or asked.request is None
            if given and not is_mailbox(given, utf8=utf8):
                reason = f"gave {given!r} for {asked.address!r}: no address of this message"
                house.report(VerifierTrouble(verifier=verifier.spec[0], reason=reason))
                return _CANNOT_SAY
            return dialogue.verified(asked, answer)
        case Unknown(reply, diagnostic):
            if diagnostic:
                house.report(VerifierTrouble(verifier=verifier.spec[0], reason=diagnostic))
            return reply
        case Drop():
            return None
        case _:
            assert_never(answer)
