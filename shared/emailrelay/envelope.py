"""The envelope of a message: the data of the SMTP dialogue without the content."""

from enum import StrEnum
from typing import NamedTuple, NewType

from emailrelay.arrival_facts import ArrivalFacts

Address = NewType("Address", str)
"""A mailbox between the angle brackets, verbatim; ``""`` is the null reverse-path."""

NULL_SENDER = Address("")

MOST_RECIPIENTS = 100_000
"""The most recipients of an envelope; one with more would be taken for damaged."""


class Body(StrEnum):
    """The client's declaration about the content (``BODY=``, RFC 6152 and RFC 3030)."""

    UNKNOWN = "unknown"
    SEVEN_BIT = "7bit"
    EIGHT_BIT = "8bit"
    BINARY = "binarymime"


class Envelope(NamedTuple):
    """All data for relaying, apart from the content itself.

    The field names follow the envelope file (``docs/spool.md``). ``envelope_format`` makes sure
    that texts from a client or a filter have no control characters.
    """

    sender: Address
    to_local: tuple[Address, ...] = ()
    """Recipients that an address verifier knew as mailboxes of this host."""
    to_remote: tuple[Address, ...] = ()
    body: Body = Body.UNKNOWN
    authentication: str = ""
    """The authenticated user (decoded), or empty."""
    client: str = ""
    """The client's IP address or socket path."""
    client_certificate: str = ""
    """PEM, lines ended by ``\\n``, or empty."""
    mail_from_auth_in: str = ""
    """``AUTH=`` of the client's MAIL command, xtext (RFC 4954 section 5)."""
    mail_from_auth_out: str = ""
    forward_to: str = ""
    """A domain for routing, set by a filter, decoded."""
    forward_to_address: str = ""
    """The server to send to, ``host:port``, set by a filter; or several, with commas between."""
    account_selector: str = ""
    """The selector of the account that signs in for this message."""
    utf8: bool = False
    """True if the client used SMTPUTF8 (RFC 6531)."""
    message_id: str = ""
    """The Message-ID in the header, as it came in or as the filters left it; or empty.

    Empty too if the header has it beyond the first 64 KiB, or in a form that cannot be kept
    (``message_id``). Only the log and the history use it.
    """
    arrival: ArrivalFacts | None = None
    """The session in which the message arrived, for filters; None: a program of this host sent it.
    """

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Return all recipients, local ones first, in the order of the file."""
        return self.to_local + self.to_remote
