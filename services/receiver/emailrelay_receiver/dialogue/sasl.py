"""Mechanisms of authentication (RFC 4954, RFC 4616, RFC 2195): challenges and responses, no I/O."""

import base64
import binascii
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias

from emailrelay.reply import Reply
from emailrelay.secrets.auth_config import Mechanism
from emailrelay.secrets.secret import Secret
from emailrelay_receiver.dialogue.arguments import Refused

LONGEST_RESPONSE = 12288
"""Octets of a response with its CRLF (RFC 4954 section 4)."""


@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password, as claimed by a client."""

    user: str
    password: Secret


@dataclass(frozen=True, slots=True)
class SaslResponse:
    """A name and the response to a challenge, as claimed by a client."""

    user: str
    challenge: bytes
    digest: str = field(repr=False)


Credentials: TypeAlias = Password | SaslResponse
ServerExchange: TypeAlias = Generator[bytes, bytes, Credentials]
"""Yields challenges, takes the responses, both decoded; returns the client's claim."""


def exchange(mechanism: Mechanism, initial: bytes | None, challenge: bytes) -> ServerExchange:
    """Begin an exchange; ``initial`` is the decoded response that came with the command.

    ``challenge`` is for CRAM-MD5, and must differ each time.

    Raises (also later):
        Refused: the responses make no sense.

    """
    match mechanism:
        case Mechanism.PLAIN:
            return _plain(initial)
        case Mechanism.LOGIN:
            return _login(initial)
        case Mechanism.CRAM_MD5:
            return _cram_md5(initial, challenge)
        case Mechanism.XOAUTH2 | Mechanism.OAUTHBEARER:
            raise Refused(UNKNOWN_MECHANISM)


def decode(text: bytes) -> bytes:
    """Decode a response as it came: base64; ``=`` is an empty one, ``*`` cancels.

    Raises:
        Refused: it is not base64, too long, or gives up.

    """
    if text == b"*":
        raise Refused(_CANCELLED)
    if len(text) + 2 > LONGEST_RESPONSE:
        raise Refused(_TOO_LONG)
    try:
        return b"" if text == b"=" else base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Refused(_NOT_BASE64) from None


def prompt(challenge: bytes) -> Reply:
    """Return the reply that carries a challenge."""
    return Reply(334, base64.b64encode(challenge).decode())


def _plain(initial: bytes | None) -> ServerExchange:
    response = (yield b"") if initial is None else initial
    identity, nul, rest = response.partition(b"\0")
    user, second, password = rest.partition(b"\0")
    if not nul or not second or b"\0" in password:
        raise Refused(_MALFORMED)
    name = _text(user)
    if identity and _text(identity) != name:
        # The secrets file cannot allow a user to act for another.
        raise Refused(WRONG)
    return Password(name, Secret(_text(password)))


def _login(initial: bytes | None) -> ServerExchange:
    user = (yield b"Username:") if initial is None else initial
    password = yield b"Password:"
    return Password(_text(user), Secret(_text(password)))


def _cram_md5(initial: bytes | None, challenge: bytes) -> ServerExchange:
    if initial is not None:
        raise Refused(_MALFORMED)
    response = yield challenge
    user, blank, digest = response.rpartition(b" ")
    if not blank:
        raise Refused(_MALFORMED)
    return SaslResponse(_text(user), challenge, _text(digest))


def _text(octets: bytes) -> str:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise Refused(_MALFORMED) from None
    if "\0" in text:
        raise Refused(_MALFORMED)
    return text


WRONG = Reply(535, "5.7.8 authentication failed")
UNKNOWN_MECHANISM = Reply(504, "5.5.4 this mechanism is not offered")
_CANCELLED = Reply(501, "5.7.0 authentication given up")
_TOO_LONG = Reply(500, "5.5.6 response too long")
_NOT_BASE64 = Reply(501, "5.5.2 not base64")
_MALFORMED = Reply(501, "5.5.2 malformed response")
