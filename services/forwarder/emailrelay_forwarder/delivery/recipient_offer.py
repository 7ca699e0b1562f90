"""Asks a server about one recipient, by MAIL and RCPT without DATA."""

import re

from emailrelay.errors import AddressError
from emailrelay.reply import Reply
from emailrelay_forwarder.delivery.delivery import NEEDS_UTF8
from emailrelay_forwarder.delivery.recipient_limit import may_be_limit, temporary
from emailrelay_forwarder.delivery.recipient_question import RecipientQuestion
from emailrelay_forwarder.session.mailbox import on_wire
from emailrelay_forwarder.session.session_error import SessionStep
from emailrelay_forwarder.session.smtp_client import Session

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\b")
_OUT_OF_ORDER = 503


async def offer_recipient(session: Session, question: RecipientQuestion) -> Reply:
    """Return the reply of the server to the recipient, or its refusal of the sender.

    Raises:
        SessionError: the session is over.

    """
    sender = question.sender
    needs_utf8 = not (sender.isascii() and question.recipient.isascii())
    if needs_utf8 and question.utf8 and "smtputf8" not in session.extensions:
        return NEEDS_UTF8
    try:
        mail = b"MAIL FROM:<" + (on_wire(sender, utf8=question.utf8) if sender else b"") + b">"
        rcpt = b"RCPT TO:<" + on_wire(question.recipient, utf8=question.utf8) + b">"
    except AddressError as error:
        return Reply.of(553, f"5.1.3 the address {error}")
    if question.utf8 and "smtputf8" in session.extensions:
        mail += b" SMTPUTF8"
    if session.open_mail == mail:
        # Servers count transactions, and the commands that end them without mail.
        reply = await session.ask(SessionStep.RCPT, rcpt)
        if not may_be_limit(reply, question.recipient, sender) and reply.code != _OUT_OF_ORDER:
            return reply
    return await _in_new_transaction(session, question, mail, rcpt)


async def _in_new_transaction(
    session: Session, question: RecipientQuestion, mail: bytes, rcpt: bytes
) -> Reply:
    await session.begin()
    if "pipelining" in session.extensions:
        session.say([mail, rcpt])
        to_mail = await session.hear(SessionStep.MAIL)
        to_rcpt = await session.hear(SessionStep.RCPT)
    else:
        to_mail = to_rcpt = await session.ask(SessionStep.MAIL, mail)
        if to_mail.accepted:
            to_rcpt = await session.ask(SessionStep.RCPT, rcpt)
    if not to_mail.accepted:
        return _about_sender(to_mail)
    session.open_mail = mail
    return temporary(to_rcpt, question.recipient, question.sender)


def _about_sender(reply: Reply) -> Reply:
    """Give a refusal of the sender a status that does not blame the recipient (RFC 3463)."""
    if _ENHANCED.match(reply.text):
        return reply
    return Reply.of(reply.code, f"{reply.code // 100}.1.0 sender refused: {reply.text}")
