"""One message over one open session, with a reply for each recipient."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from emailrelay.envelope import Address, Body, Envelope
from emailrelay.errors import AddressError, RelayError
from emailrelay.reply import Reply
from emailrelay.routes import RouteGroup
from emailrelay_forwarder.delivery import parameters
from emailrelay_forwarder.delivery.header_scan import beyond_ascii
from emailrelay_forwarder.delivery.offer import EnvelopeOffer, OfferedRecipient
from emailrelay_forwarder.delivery.outgoing import Outgoing
from emailrelay_forwarder.delivery.recipient_limit import names_limit, temporary
from emailrelay_forwarder.session.mailbox import on_wire
from emailrelay_forwarder.session.moment import Moment
from emailrelay_forwarder.session.session_error import SessionError, SessionStep
from emailrelay_forwarder.session.smtp_client import Session

NEEDS_UTF8 = Reply(553, "5.6.7 the server does not support SMTPUTF8, and the message needs it")
_GO_ON = 354
_BEFORE_CONTENT = frozenset(
    {SessionStep.RSET, SessionStep.MAIL, SessionStep.RCPT, SessionStep.DATA}
)


@dataclass(slots=True)
class Progress:
    """The state of an attempt; filled while it runs, and read at its end."""

    message: Outgoing | None = None
    """The message as sent; None: not known yet."""
    groups: Sequence[RouteGroup] = ()
    """Its recipients by route; empty: not known yet."""
    replies: dict[Address, Reply] = field(default_factory=dict[Address, Reply])
    """The replies so far. A recipient accepted at RCPT appears after the reply to the content."""
    at_rcpt: set[Address] = field(default_factory=set[Address])
    """Recipients that a server refused at RCPT: the reply may be about the recipient alone."""
    peer: str = ""
    tls: str = ""
    """The version of TLS on the connection to ``peer``; empty: none."""
    began: float = 0.0
    offered: float = 0.0
    """Time of the last offer to a server (seconds since 1970)."""
    turn: float | None = None
    """Time of its turn at a server that wants mail more slowly (seconds since 1970)."""
    in_content: bool = False
    """True if the server has answered 354, and not yet the content."""
    at_dot: bool = False
    """True if a final dot was sent that the server has not answered yet."""
    trouble: SessionError | None = None
    """The error that ended the session."""
    obstacle: Reply | None = None
    """The reason on our own side."""
    settling: bool = False
    """True if the settlement is being recorded."""
    settled: Moment = field(default_factory=Moment)
    """Set when the settlement is synced."""
    last_group: bool = True
    """True if this is the last group, so that only the settlement follows."""
    awaited: bool = False
    """True if the next message on a connection may wait for the settlement of this one."""
    stop_run: bool = False
    """True if a client filter wants the run to end after this message."""

    @property
    def why(self) -> Reply | None:
        """The reason why recipients have no reply; None: there is none."""
        return self.trouble.reply if self.obstacle is None and self.trouble else self.obstacle

    @property
    def doubtful(self) -> bool:
        """True if the server may have accepted the message although its answer is missing."""
        return self.at_dot and (self.trouble is None or self.trouble.reply.code != 421)


class NoLongerWanted(RelayError):
    """The waiting client has gone before the final dot: the message must not be sent."""


async def deliver(
    message: Outgoing,
    recipients: Sequence[Address],
    session: Session,
    progress: Progress,
    *,
    together: bool,
) -> None:
    """Offer the message to the server, for those of ``recipients`` that have no reply yet.

    ``together``: there is one answer for all recipients, so one transaction offers them all, and
    any refusal ends the attempt.

    Raises:
        SessionError: the session is over; ``progress`` has the replies so far.
        StoreError: the content cannot be read; the session must be dropped.
        NoLongerWanted: the client has gone; the session must be dropped.

    """
    envelope, history = message.envelope, message.claim.history
    pending = [r for r in recipients if r not in progress.replies]
    lacks_utf8 = _lacks_utf8(envelope, session)
    refusal = _refused_whole(envelope, message.size, session, lacks_utf8=lacks_utf8)
    if refusal is None and lacks_utf8 and await beyond_ascii(message.content()):
        refusal = NEEDS_UTF8
    if refusal is not None:
        progress.replies.update(dict.fromkeys(pending, refusal))
        return
    sendable = _sendable(pending, message, session, progress.replies, lacks_utf8=lacks_utf8)
    if together and len(sendable) < len(pending):
        return
    more = parameters.of_mail(envelope, message.size, history.dsn, session.extensions)
    mail = b"MAIL FROM:<" + _sender(envelope) + b">" + more
    while sendable:
        offer = EnvelopeOffer(
            session,
            envelope.sender,
            mail,
            sendable,
            progress.replies,
            together,
            progress.at_rcpt,
        )
        await offer.make()
        reply = offer.to_data
        if reply is None or not offer.accepted:
            sendable = offer.left
            continue
        if reply.code == _GO_ON:
            reply = await _content(message, session, progress)
        sendable = _after_content(offer, sendable, reply)


def _refused_whole(
    envelope: Envelope, size: int, session: Session, *, lacks_utf8: bool
) -> Reply | None:
    """Return the reason why this server can never take this message, or None."""
    if session.largest is not None and size > session.largest:
        return Reply.of(552, f"5.3.4 {size} octets are more than the {session.largest} it takes")
    if lacks_utf8 and not envelope.sender.isascii():
        return NEEDS_UTF8
    if envelope.body is Body.BINARY:
        return Reply.of(554, "5.6.3 binary content cannot be sent")
    try:
        _sender(envelope)
    except AddressError as error:
        return Reply.of(553, f"5.1.7 the sender's address {error}")
    return None


def _lacks_utf8(envelope: Envelope, session: Session) -> bool:
    """Tell whether the client used SMTPUTF8 and the server has none.

    Many programs send SMTPUTF8 whenever it is offered. The message needs it only if an address or a
    header is not ASCII (RFC 6531 sections 3.2 and 3.4); 8-bit bodies do not need it.
    """
    return envelope.utf8 and "smtputf8" not in session.extensions


def _sender(envelope: Envelope) -> bytes:
    return on_wire(envelope.sender, utf8=envelope.utf8) if envelope.sender else b""


def _sendable(
    pending: list[Address],
    message: Outgoing,
    session: Session,
    replies: dict[Address, Reply],
    *,
    lacks_utf8: bool,
) -> list[OfferedRecipient]:
    """Return the recipients with their parameters; refuse those that no command can contain."""
    envelope, dsn = message.envelope, message.claim.history.dsn
    sendable: list[OfferedRecipient] = []
    for recipient in pending:
        if lacks_utf8 and not recipient.isascii():
            replies[recipient] = NEEDS_UTF8
            continue
        try:
            octets = on_wire(recipient, utf8=envelope.utf8)
        except AddressError as error:
            replies[recipient] = Reply.of(553, f"5.1.3 the recipient's address {error}")
        else:
            more = parameters.of_rcpt(recipient, dsn, session.extensions)
            sendable.append(OfferedRecipient(recipient, b"RCPT TO:<" + octets + b">" + more))
    return sendable


def _after_content(
    offer: EnvelopeOffer, offered: list[OfferedRecipient], reply: Reply
) -> list[OfferedRecipient]:
    """Note the reply for the recipients accepted; return those for a further transaction."""
    addresses = (offer.sender, *offer.accepted)
    if len(offer.accepted) > 1 and not offer.together and names_limit(reply, *addresses):
        # The server counts at DATA only. Each further transaction offers half as many.
        offer.session.takes_at_most(len(offer.accepted) // 2)
        accepted = frozenset(offer.accepted)
        return [*(each for each in offered if each.address in accepted), *offer.left]
    offer.replies.update(dict.fromkeys(offer.accepted, temporary(reply, *addresses)))
    return offer.left


async def _content(message: Outgoing, session: Session, progress: Progress) -> Reply:
    progress.in_content = True
    tail = await session.content(message.content())
    before = _before_this(session, progress)
    if before is not None and not before.come:
        await before.wait()
    session.check_dot()
    if not await message.claim.before_dot(session.peer):
        raise NoLongerWanted("the client has gone")
    progress.at_dot = True
    try:
        reply = await session.final_dot(tail)
    except SessionError as trouble:
        progress.at_dot = trouble.step is SessionStep.DOT
        raise
    progress.in_content = progress.at_dot = False
    if reply.accepted and progress.last_group:
        session.settling, progress.awaited = progress.settled, True
    return reply


def _before_this(session: Session, progress: Progress) -> Moment | None:
    """Return the event to await before the final dot: the settlement of the previous message.

    So a crash leaves at most one message in doubt on each connection. A message that others may
    wait for does not wait itself; they could wait for each other.
    """
    return None if progress.awaited else session.settling


def stale(trouble: SessionError, progress: Progress, session: Session, *, helped: bool) -> bool:
    """Tell whether an error concerns neither message nor server, but only an old session.

    A server may close a session at any time, after a number of messages or seconds. A message
    without content sent goes over a fresh session at once.

    ``helped``: the session had served before this message, or has settled a recipient of it. After
    any other session a fresh one could take the same course, again and again.
    """
    before = not progress.in_content and trouble.step in _BEFORE_CONTENT
    return session.used and helped and before
