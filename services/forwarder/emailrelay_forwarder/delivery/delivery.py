"""One message over one open session: its replies, recipient by recipient."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from emailrelay.envelope import Address, Body, Envelope
from emailrelay.errors import AddressError, RelayError
from emailrelay.reply import Reply
from emailrelay.routes import Leg
from emailrelay_forwarder.delivery import parameters
from emailrelay_forwarder.delivery.header_scan import beyond_ascii
from emailrelay_forwarder.delivery.offer import EnvelopeOffer, OfferedRecipient
from emailrelay_forwarder.delivery.outgoing import Outgoing
from emailrelay_forwarder.delivery.recipient_limit import names_limit, temporary
from emailrelay_forwarder.session.mailbox import on_wire
from emailrelay_forwarder.session.smtp_client import Session
from emailrelay_forwarder.session.trouble import SessionError, SessionStep

_NEEDS_UTF8 = Reply(553, "5.6.7 the server does not support SMTPUTF8, and the message needs it")
_BEFORE_CONTENT = frozenset(
    {SessionStep.RSET, SessionStep.MAIL, SessionStep.RCPT, SessionStep.DATA}
)


@dataclass(slots=True)
class Progress:
    """How far an attempt has come; filled while it runs, and read when it stops."""

    message: Outgoing | None = None
    """What is sent, once that is known."""
    ways: Sequence[Leg] = ()
    """Where its recipients go, once that is known, too."""
    replies: dict[Address, Reply] = field(default_factory=dict[Address, Reply])
    """The answers so far. A recipient accepted at RCPT is in here once the content is answered, too."""
    peer: str = ""
    began: float = 0.0
    offered: float = 0.0
    """When the message was last offered to a server."""
    turn: float | None = None
    """When the message has its turn at a server that wants mail more slowly (seconds since 1970)."""
    in_content: bool = False
    """Whether the server has said 354 and not yet given its verdict."""
    at_dot: bool = False
    """Whether a final dot is on its way that nobody has answered yet."""
    trouble: SessionError | None = None
    """What ended the session."""
    obstacle: Reply | None = None
    """What on our own side stood in the way."""
    settling: bool = False
    """Whether the outcome is being recorded."""
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when all is over, the record synced."""
    last_way: bool = True
    """Whether nothing is to come but the settlement once this way is gone."""
    awaited: bool = False
    """Whether the next message on a connection may be waiting for the settlement of this one."""
    stop_run: bool = False
    """Whether a client filter wants the run to end after this message."""

    @property
    def why(self) -> Reply | None:
        """Why the recipients without an answer have none."""
        return self.trouble.reply if self.obstacle is None and self.trouble else self.obstacle

    @property
    def doubtful(self) -> bool:
        """Whether the server may have taken a message that it did not say it has."""
        return self.at_dot and (self.trouble is None or self.trouble.reply.code != 421)


class NoLongerWanted(RelayError):
    """The client who waited for the delivery has gone before the final dot: it is not to be sent."""


async def deliver(
    message: Outgoing, session: Session, progress: Progress, *, together: bool
) -> None:
    """Offer the message to the server, for all recipients that are not done with.

    ``together``: there is one answer for all recipients, so all of them are offered in one
    transaction, and any refusal ends the attempt.

    Raises:
        SessionError: the session is over; ``progress`` has the answers up to then.
        StoreError: the content cannot be read; the session must be dropped.
        NoLongerWanted: as it says; the session must be dropped.

    """
    envelope, history = message.envelope, message.claim.history
    pending = [r for r in history.pending(envelope) if r not in progress.replies]
    refusal = refused_whole(envelope, message.size, session)
    if refusal is None and _lacks_utf8(envelope, session) and await beyond_ascii(message.content()):
        refusal = _NEEDS_UTF8
    if refusal is not None:
        progress.replies.update(dict.fromkeys(pending, refusal))
        return
    sendable = _sendable(pending, message, session, progress.replies)
    if together and len(sendable) < len(pending):
        return
    while sendable:
        sendable = await _transaction(message, session, sendable, progress, together=together)


def refused_whole(envelope: Envelope, size: int, session: Session) -> Reply | None:
    """Tell why this server can never take this message, or None."""
    if session.largest is not None and size > session.largest:
        return Reply.of(552, f"5.3.4 {size} octets are more than the {session.largest} it takes")
    if _lacks_utf8(envelope, session) and not envelope.sender.isascii():
        return _NEEDS_UTF8
    if envelope.body is Body.BINARY:
        return Reply.of(554, "5.6.3 binary content cannot be sent")
    try:
        _sender(envelope)
    except AddressError as error:
        return Reply.of(553, f"5.1.7 the sender's address {error}")
    return None


def _lacks_utf8(envelope: Envelope, session: Session) -> bool:
    """Tell whether the client used SMTPUTF8 and the server has none.

    Many programs say SMTPUTF8 wherever it is offered. The message needs it only if an address or a
    header is beyond ASCII (RFC 6531 sections 3.2 and 3.4); 8-bit bodies are no matter of SMTPUTF8.
    """
    return envelope.utf8 and "smtputf8" not in session.extensions


def _sender(envelope: Envelope) -> bytes:
    return on_wire(envelope.sender, utf8=envelope.utf8) if envelope.sender else b""


def _sendable(
    pending: list[Address], message: Outgoing, session: Session, replies: dict[Address, Reply]
) -> list[OfferedRecipient]:
    """Give the recipients with what is said of them; refuse those that cannot be put on the wire."""
    envelope, dsn = message.envelope, message.claim.history.dsn
    lacks_utf8 = _lacks_utf8(envelope, session)
    sendable: list[OfferedRecipient] = []
    for recipient in pending:
        if lacks_utf8 and not recipient.isascii():
            replies[recipient] = _NEEDS_UTF8
            continue
        try:
            octets = on_wire(recipient, utf8=envelope.utf8)
        except AddressError as error:
            replies[recipient] = Reply.of(553, f"5.1.3 the recipient's address {error}")
        else:
            more = parameters.of_rcpt(recipient, dsn, session.extensions)
            sendable.append(OfferedRecipient(recipient, b"<" + octets + b">" + more))
    return sendable


async def _transaction(
    message: Outgoing,
    session: Session,
    sendable: list[OfferedRecipient],
    progress: Progress,
    *,
    together: bool,
) -> list[OfferedRecipient]:
    """Send the message to as many recipients as the server takes at once; return the others."""
    envelope, dsn = message.envelope, message.claim.history.dsn
    more = parameters.of_mail(envelope, message.size, dsn, session.extensions)
    sender = b"<" + _sender(envelope) + b">" + more
    offer = EnvelopeOffer(session, sender, sendable, progress.replies, together)
    await offer.make()
    if offer.accepted and (reply := offer.to_data):
        if reply.code == 354:
            reply = await _content(message, session, progress)
        if names_limit(reply) and len(offer.accepted) > 1 and not together:
            # It counts at DATA only. Each further transaction offers half as many.
            session.most_recipients = len(offer.accepted) // 2
            accepted = frozenset(offer.accepted)
            return [*(each for each in sendable if each.address in accepted), *offer.left]
        progress.replies.update(dict.fromkeys(offer.accepted, temporary(reply)))
    return offer.left


async def _content(message: Outgoing, session: Session, progress: Progress) -> Reply:
    claim = message.claim

    async def before_dot() -> None:
        if not await claim.before_dot(session.peer):
            raise NoLongerWanted("the client has gone")
        progress.at_dot = True

    progress.in_content = True
    reply = await session.content(message.content(), before_dot, _before_this(session, progress))
    progress.in_content = progress.at_dot = False
    if reply.accepted and progress.last_way:
        session.settling, progress.awaited = progress.settled, True
    return reply


def _before_this(session: Session, progress: Progress) -> asyncio.Event | None:
    """Give what must have happened before the final dot: the settlement of the message before this one.

    So a crash leaves at most one message in doubt on each connection. Whom others may be waiting for
    waits for nobody, or they could wait for each other.
    """
    return None if progress.awaited else session.settling


def wants_less(reply: Reply) -> bool:
    """Tell whether a reply asks us to slow down (4.7.x: rate or connection limits of policy)."""
    return 400 <= reply.code <= 499 and reply.text.startswith("4.7.")


def stale(trouble: SessionError, progress: Progress, session: Session) -> bool:
    """Tell whether trouble says nothing about the message or the server, only about a kept session.

    A server may close a session whenever it likes, after so many messages or so many seconds; what
    had only been begun there goes over a fresh session at once.
    """
    return session.used and not progress.in_content and trouble.step in _BEFORE_CONTENT
