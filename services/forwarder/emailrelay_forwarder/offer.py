"""The envelope put to a server: MAIL, RCPT and DATA, all at once where it takes them so (RFC 2920)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from emailrelay.envelope import Address
from emailrelay.reply import Reply
from emailrelay_forwarder.smtp_client import Session
from emailrelay_forwarder.trouble import Step

MOST_RECIPIENTS = 100
"""Of one transaction: every server takes as many (RFC 5321 section 4.5.3.1.8)."""

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\b")


class Recipient(NamedTuple):
    """A recipient, and what goes behind ``RCPT TO:``."""

    address: Address
    path: bytes

    @property
    def command(self) -> bytes:
        """The line that names the recipient."""
        return b"RCPT TO:" + self.path


@dataclass(slots=True)
class Offer:
    """An envelope and what the server says to it. The recipients that it refuses get its replies."""

    session: Session
    sender: bytes
    """What goes behind ``MAIL FROM:``."""
    recipients: Sequence[Recipient]
    replies: dict[Address, Reply]
    together: bool
    """Whether one refusal is the end: then nothing is sent unless all recipients are accepted."""
    accepted: list[Address] = field(default_factory=list[Address])
    left: list[Recipient] = field(default_factory=list[Recipient])
    """Those whom the server takes in a further transaction."""
    to_data: Reply | None = None
    """354: the content may come. Any other reply is about those accepted. None: DATA was not said."""

    async def make(self) -> None:
        """Put the envelope to the server.

        Raises:
            SessionTrouble: the session is over; ``replies`` has the refusals up to then.

        """
        if not self.together:
            self.left = list(self.recipients[MOST_RECIPIENTS:])
            self.recipients = self.recipients[:MOST_RECIPIENTS]
        await self.session.begin()
        if "pipelining" in self.session.extensions:
            await self._at_once()
        else:
            await self._one_by_one()

    async def _one_by_one(self) -> None:
        if not self._takes_mail(await self.session.ask(Step.MAIL, self._mail)):
            return
        for number, recipient in enumerate(self.recipients):
            reply = await self.session.ask(Step.RCPT, recipient.command)
            if self._wants_no_more(reply):
                # It would say the same to all others.
                self.left = [*self.recipients[number:], *self.left]
                break
            self._take(recipient, reply)
            if self.together and not reply.accepted:
                return
        if self.accepted:
            self.to_data = await self.session.ask(Step.DATA, b"DATA")

    async def _at_once(self) -> None:
        """Say all of it, then hear all of it: every reply belongs to one command (section 3.1).

        Where a single refusal among several is the end, DATA waits for the replies to all RCPT. Otherwise
        it goes along; a server that says 354 although it has taken nobody gets the lone dot that ends it.
        """
        first_hear = self.together and len(self.recipients) > 1
        commands = [(Step.MAIL, self._mail)]
        commands += [(Step.RCPT, recipient.command) for recipient in self.recipients]
        if not first_hear:
            commands.append((Step.DATA, b"DATA"))
        self.session.say(commands)
        taken = self._takes_mail(await self.session.hear(Step.MAIL))
        for recipient in self.recipients:
            reply = await self.session.hear(Step.RCPT)
            if taken and self._wants_no_more(reply):
                self.left.append(recipient)
            elif taken:
                self._take(recipient, reply)
        if not first_hear:
            self.to_data = await self.session.hear(Step.DATA)
            if self.to_data.code == 354 and not self.accepted:
                await self.session.nothing()
        elif len(self.accepted) == len(self.recipients):
            self.to_data = await self.session.ask(Step.DATA, b"DATA")

    @property
    def _mail(self) -> bytes:
        return b"MAIL FROM:" + self.sender

    def _takes_mail(self, reply: Reply) -> bool:
        if not reply.accepted:
            everybody = [*self.recipients, *self.left]
            self.replies.update((each.address, reply) for each in everybody)
            self.left = []
        return reply.accepted

    def _take(self, recipient: Recipient, reply: Reply) -> None:
        if reply.accepted:
            self.accepted.append(recipient.address)
        else:
            self.replies[recipient.address] = reply

    def _wants_no_more(self, reply: Reply) -> bool:
        return bool(self.accepted) and not self.together and _no_more_recipients(reply)


def _no_more_recipients(reply: Reply) -> bool:
    """Tell "too many recipients" from a full mailbox, which has the same code (RFC 5321 4.5.3.1.10)."""
    enhanced = _ENHANCED.match(reply.text)
    return reply.code == 452 and (enhanced is None or enhanced[0] == "4.5.3")
