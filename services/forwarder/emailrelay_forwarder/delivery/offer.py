"""The offer of an envelope to a server: MAIL, RCPT and DATA, pipelined if possible (RFC 2920)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from emailrelay.envelope import Address
from emailrelay.reply import Reply
from emailrelay_forwarder.delivery.recipient_limit import may_be_limit, names_limit, temporary
from emailrelay_forwarder.session.session_error import SessionStep
from emailrelay_forwarder.session.smtp_client import Session

_OUT_OF_ORDER = 503


class OfferedRecipient(NamedTuple):
    """A recipient, and the command that names it."""

    address: Address
    command: bytes


@dataclass(slots=True)
class EnvelopeOffer:
    """An envelope, and the replies of the server to it."""

    session: Session
    sender: Address
    mail: bytes
    """The command MAIL."""
    recipients: Sequence[OfferedRecipient]
    replies: dict[Address, Reply]
    together: bool
    """True if one refusal ends the offer: nothing is sent unless all recipients are accepted."""
    at_rcpt: set[Address] = field(default_factory=set[Address])
    """Gets the recipients that the server refuses at RCPT."""
    accepted: list[Address] = field(default_factory=list[Address])
    left: list[OfferedRecipient] = field(default_factory=list[OfferedRecipient])
    """Recipients for a further transaction."""
    to_data: Reply | None = None
    """354: send the content. Another reply applies to those accepted. None: DATA was not sent."""
    _full: bool = False
    """True if the server has refused a further recipient because of its limit."""

    async def make(self) -> None:
        """Offer the envelope to the server.

        Raises:
            SessionError: the session is over; ``replies`` has the refusals so far.

        """
        if not self.together:
            most = self.session.transaction_size.most
            self.left = list(self.recipients[most:])
            self.recipients = self.recipients[:most]
        await self.session.begin()
        if "pipelining" in self.session.extensions:
            await self._at_once()
        else:
            await self._one_by_one()

    async def _one_by_one(self) -> None:
        if not self._takes_mail(await self.session.ask(SessionStep.MAIL, self.mail)):
            return
        for number, recipient in enumerate(self.recipients):
            reply = await self.session.ask(SessionStep.RCPT, recipient.command)
            if self._wants_no_more(recipient, reply):
                # The server would say the same to all others.
                self.left = [*self.recipients[number:], *self.left]
                break
            self._take(recipient, reply)
            if self.together and not reply.accepted:
                return
        if self.accepted:
            self.to_data = await self.session.ask(SessionStep.DATA, b"DATA")

    async def _at_once(self) -> None:
        """Send all commands, then read all replies, one for each command (section 3.1).

        If one refusal among several ends the offer, DATA waits for the replies to all RCPT.
        Otherwise DATA is sent with them. A server that answers 354 without an accepted recipient
        gets a lone dot.
        """
        session = self.session
        data_waits = self.together and len(self.recipients) > 1
        named = [recipient.command for recipient in self.recipients]
        session.say([self.mail, *named, *(() if data_waits else (b"DATA",))])
        taken = self._takes_mail(await session.hear(SessionStep.MAIL))
        for recipient in self.recipients:
            # Most replies arrive with the first one.
            reply = session.at_hand(SessionStep.RCPT) or await session.hear(SessionStep.RCPT)
            if taken and self._wants_no_more(recipient, reply):
                self.left.append(recipient)
            elif taken:
                self._take(recipient, reply)
        if not data_waits:
            reply = session.at_hand(SessionStep.DATA) or await session.hear(SessionStep.DATA)
            self.to_data = reply
            if reply.code == 354 and not self.accepted:
                await session.nothing()
        elif len(self.accepted) == len(self.recipients):
            self.to_data = await session.ask(SessionStep.DATA, b"DATA")

    def _takes_mail(self, reply: Reply) -> bool:
        if reply.accepted:
            return True
        refused = [*self.recipients, *self.left]
        self.replies.update((each.address, reply) for each in refused)
        self.left = []
        return False

    def _take(self, recipient: OfferedRecipient, reply: Reply) -> None:
        if reply.accepted:
            self.accepted.append(recipient.address)
        else:
            self.replies[recipient.address] = temporary(reply, recipient.address, self.sender)
            self.at_rcpt.add(recipient.address)

    def _wants_no_more(self, recipient: OfferedRecipient, reply: Reply) -> bool:
        """Tell whether a recipient needs a further transaction; note the limit of this one."""
        if not self.accepted or self.together or reply.accepted:
            return False
        addresses = (recipient.address, self.sender)
        if names_limit(reply, *addresses) and not self._full:
            self._full = True
            self.session.takes_at_most(len(self.accepted))
        # Some servers answer 503 to every RCPT beyond their limit; that does not concern the
        # recipient.
        return may_be_limit(reply, *addresses) or (self._full and reply.code == _OUT_OF_ORDER)
