"""What a command leads to: the closed set of things a session does for its dialogue."""

from dataclasses import dataclass
from typing import TypeAlias

from emailrelay.dsn_request import NO_WISHES, RecipientRequest
from emailrelay.envelope import Address
from emailrelay.reply import Reply
from emailrelay.secrets import Mechanism


@dataclass(frozen=True, slots=True)
class Lines:
    """A reply of several lines."""

    code: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakeContent:
    """Say 354 and read the content; then call ``Dialogue.end_of_mail``."""


@dataclass(frozen=True, slots=True)
class TakeChunk:
    """Read ``size`` octets of content; with a refusal, throw them away and say that instead.

    After the last chunk, or a refused one, call ``Dialogue.end_of_mail``.
    """

    size: int
    last: bool
    refusal: Reply | None = None


@dataclass(frozen=True, slots=True)
class StartTls:
    """Say 220, encrypt, and call ``Dialogue.start_anew``."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Have the client prove who it is; ``initial`` is its decoded first response, if it gave one."""

    mechanism: Mechanism
    initial: bytes | None


@dataclass(frozen=True, slots=True)
class AskAbout:
    """Ask the verifier about an address, and give its answer to ``Dialogue.verified``."""

    address: Address
    request: RecipientRequest | None
    """None: the client only wants to know (VRFY)."""


@dataclass(frozen=True, slots=True)
class Goodbye:
    """Say this and close the connection."""

    reply: Reply


Outcome: TypeAlias = (
    Reply | Lines | TakeContent | TakeChunk | StartTls | Authenticate | AskAbout | Goodbye
)


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient as it goes into the envelope."""

    address: Address
    local: bool = False
    request: RecipientRequest = NO_WISHES
