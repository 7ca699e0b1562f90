"""What a client says to a mail server to sign in with a token: XOAUTH2 and OAUTHBEARER.

Everything here is before base64, which the AUTH command adds (RFC 4954 section 4).
"""

import json
from typing import Any

_SEPARATOR = "\x01"

XOAUTH2_END = b""
"""The answer to a challenge that says why the token was refused: an empty line ends XOAUTH2."""

OAUTHBEARER_END = b"\x01"
"""The same for OAUTHBEARER (RFC 7628 section 3.2.3)."""


def xoauth2(user: str, token: str) -> bytes:
    """Give the initial response of XOAUTH2, the mechanism of Google and Microsoft.

    Raises:
        ValueError: the user or the token holds a control character; neither is in the error.

    """
    _check(user, token)
    fields = (f"user={user}", f"auth=Bearer {token}", "", "")
    return _SEPARATOR.join(fields).encode()


def oauthbearer(user: str, token: str, *, host: str, port: int) -> bytes:
    """Give the initial response of OAUTHBEARER (RFC 7628 section 3.1).

    ``host`` and ``port`` are those that the client connected to. Raises ValueError as ``xoauth2`` does.
    """
    _check(user, token)
    # A saslname writes the two characters that have a meaning in it in hexadecimal (RFC 5801 section 4).
    name = user.replace("=", "=3D").replace(",", "=2C")
    fields = (f"n,a={name},", f"host={host}", f"port={port}", f"auth=Bearer {token}", "", "")
    return _SEPARATOR.join(fields).encode()


def refusal(challenge: bytes) -> str:
    """Give the status word of a server's refusal (RFC 7628 section 3.2.2), or what it says instead.

    The text is the peer's: bounded here, to be escaped where it is shown.
    """
    try:
        said: Any = json.loads(challenge)
        text = str(said["status"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = challenge.decode(errors="replace")
    return text[:200]


def _check(user: str, token: str) -> None:
    if not user or not user.isprintable():
        raise ValueError("the user's name cannot be sent: it is empty or holds a control character")
    if not token or not (token.isascii() and token.isprintable()):
        raise ValueError("the token cannot be sent: it is empty or holds a control character")
