"""The outcomes of a command: the closed set of things that a session does for its dialogue."""

from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from emailrelay.dsn_request import NO_WISHES, RecipientRequest
from emailrelay.envelope import Address
from emailrelay.reply import Reply
from emailrelay.secrets.auth_config import Mechanism


@dataclass(frozen=True, slots=True)
class Lines:
    """A reply of several lines."""

    code: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReceiveContent:
    """Reply 354 and read the content; then call ``SmtpDialogue.end_of_mail``."""


@dataclass(frozen=True, slots=True)
class ReceiveChunk:
    """Read ``size`` octets of content; with a refusal, throw them away and reply that.

    After the last chunk, or a refused one, call ``SmtpDialogue.end_of_mail``.
    """

    size: int
    last: bool
    refusal: Reply | None = None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Reply 220, encrypt, and call ``SmtpDialogue.start_anew``."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Authenticate the client; ``initial`` is its decoded initial response, if it sent one."""

    mechanism: Mechanism
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class VerifyAddress:
    """Ask about an address, and pass the answer to ``SmtpDialogue.verified``."""

    address: Address
    request: RecipientRequest | None
    """None: VRFY, which adds no recipient."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Send this reply and close the connection."""

    reply: Reply


Outcome: TypeAlias = (
    Reply
    | Lines
    | ReceiveContent
    | ReceiveChunk
    | StartTls
    | Authenticate
    | VerifyAddress
    | Goodbye
)


class Recipient(NamedTuple):
    """A recipient as the envelope has it."""

    address: Address
    local: bool = False
    request: RecipientRequest = NO_WISHES
