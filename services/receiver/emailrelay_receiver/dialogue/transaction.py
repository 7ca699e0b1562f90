"""One mail transaction (RFC 5321 section 3.3): sender, parameters and recipients."""

from dataclasses import dataclass, field

from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.dsn_request import NO_REQUEST, NO_WISHES, DsnRequest
from emailrelay.envelope import Address, Envelope
from emailrelay_receiver.dialogue.access import ClientStanding
from emailrelay_receiver.dialogue.arguments import NO_PARAMETERS, MailParameters
from emailrelay_receiver.dialogue.outcomes import Recipient

_LONGEST_NAME = 255
"""The most characters of a client's name that filters get (RFC 5321 section 4.5.3.1.2)."""


@dataclass(slots=True)
class MailTransaction:
    """The commands since MAIL. Without a ``sender`` there is no transaction."""

    sender: Address | None = None
    parameters: MailParameters = NO_PARAMETERS
    recipients: dict[Address, Recipient] = field(default_factory=dict[Address, Recipient])
    """By the address that the client gave, in order of arrival; a repeated one counts once."""
    chunked: bool = False
    """A BDAT was accepted, and the last is still to come."""
    message_id: str = ""
    """That of the content, once it has arrived."""

    def envelope(self, standing: ClientStanding, *, client: str, helo: str) -> Envelope:
        """Return the envelope. ``client``, ``helo``: the address and name to note in it, or ""."""
        recipients = self.recipients.values()
        return Envelope(
            sender=self.sender or Address(""),
            to_local=tuple({r.address: None for r in recipients if r.local}),
            to_remote=tuple({r.address: None for r in recipients if not r.local}),
            body=self.parameters.body,
            authentication=standing.user,
            client=client,
            client_certificate=standing.certificate,
            mail_from_auth_in=self._first_submitter(standing),
            utf8=self.parameters.utf8,
            arrival=ArrivalFacts(
                helo=helo[:_LONGEST_NAME],
                tls=standing.tls,
                cipher=standing.cipher,
                mechanism=standing.mechanism or "",
            ),
        )

    def dsn(self) -> DsnRequest:
        """Return the client's requests for delivery status notifications (RFC 3461)."""
        wishes = {r.address: r.request for r in self.recipients.values() if r.request != NO_WISHES}
        if not wishes and self.parameters is NO_PARAMETERS:
            return NO_REQUEST
        return DsnRequest(
            give_back=self.parameters.give_back,
            envelope_id=self.parameters.envelope_id,
            recipients=wishes,
        )

    def _first_submitter(self, standing: ClientStanding) -> str:
        """Believe AUTH= of known clients only (RFC 4954 section 5)."""
        known = standing.user or standing.trusted is not None
        return self.parameters.auth if known or not self.parameters.auth else "<>"


NO_MAIL = MailTransaction()
"""The transaction of a command that belongs to none; nothing changes it."""
