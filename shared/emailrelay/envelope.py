"""The envelope of a message: what the SMTP dialogue said besides the content."""

from enum import StrEnum
from typing import NamedTuple, NewType

Address = NewType("Address", str)
"""A mailbox as it stood between the angle brackets, verbatim; ``""`` is the null reverse-path."""

NULL_SENDER = Address("")


class Body(StrEnum):
    """What the client declared about the content (``BODY=``, RFC 6152 and RFC 3030)."""

    UNKNOWN = "unknown"
    SEVEN_BIT = "7bit"
    EIGHT_BIT = "8bit"
    BINARY = "binarymime"


class Envelope(NamedTuple):
    """Everything to be known for relaying, apart from the content itself.

    The field names follow the envelope file (``docs/spool.md``). Texts that come from a client or a
    filter hold no control characters once they are in here; ``envelope_format`` sees to that.
    """

    sender: Address
    to_local: tuple[Address, ...] = ()
    """Recipients that an address verifier knew as mailboxes of this host."""
    to_remote: tuple[Address, ...] = ()
    body: Body = Body.UNKNOWN
    authentication: str = ""
    """Who the client proved to be (decoded), or empty."""
    client: str = ""
    """The client's IP address or socket path."""
    client_certificate: str = ""
    """PEM, lines ended by ``\\n``, or empty."""
    mail_from_auth_in: str = ""
    """``AUTH=`` of the client's MAIL command, xtext (RFC 4954 section 5)."""
    mail_from_auth_out: str = ""
    forward_to: str = ""
    """A domain set by a filter to route by, decoded."""
    forward_to_address: str = ""
    """``host:port`` set by a filter to send to."""
    account_selector: str = ""
    """Which client account of the secrets file signs in for this message."""
    utf8: bool = False
    """Whether the client used SMTPUTF8 (RFC 6531)."""

    @property
    def recipients(self) -> tuple[Address, ...]:
        """Give all recipients, local ones first, in the order of the file."""
        return self.to_local + self.to_remote
