"""A token as its server issued it, and when it is to be renewed: plain functions."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from emailrelay.oauth.clocks import ClockReading, age
from emailrelay.secrets.secret import Secret

REFUSED_AGE = 60.0
"""A token younger than this (seconds) is not fetched anew because a mail server refused it: the next
one would be no better, and many sessions may be refused at once."""

_UNSAID_LIFETIME = 600.0
_LONGEST_LIFETIME = 30 * 86400.0
_LONGEST_TEXT = 32 * 1024
_TEXT = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """An access token. Times are ages in seconds, counted from ``issued``."""

    text: Secret
    issued: ClockReading
    lifetime: float
    renew_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a server gave: a token, and perhaps a new refresh token in place of the one used."""

    token: Token
    refresh_token: Secret | None = field(default=None)


def parse(answer: Mapping[str, object], *, asked: ClockReading, chance: float) -> Issued:
    """Read a successful answer of a token endpoint (RFC 6749 section 5.1).

    ``asked`` is when the request began: a token's life is counted from there, so never too long.
    ``chance`` (0 to 1) spreads renewals.

    Raises:
        ValueError: it holds no token that can be used. No secret is in the error.

    """
    text = answer.get("access_token")
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or not _TEXT.fullmatch(text):
        raise ValueError("the answer holds no access token")
    kind = answer.get("token_type", "")
    if str(kind).lower() != "bearer":
        # RFC 6749 section 7.1: a client must not use a token whose type it does not know.
        raise ValueError("the token is not of type Bearer")
    lifetime = _lifetime(answer.get("expires_in"))
    margin = min(300.0, lifetime / 6) * (1 + chance)
    refresh = answer.get("refresh_token")
    if refresh is not None and (not isinstance(refresh, str) or not _TEXT.fullmatch(refresh)):
        raise ValueError("the answer holds an unusable refresh token")
    return Issued(
        token=Token(text=Secret(text), issued=asked, lifetime=lifetime, renew_at=lifetime - margin),
        refresh_token=None if refresh is None else Secret(refresh),
    )


def _lifetime(said: object) -> float:
    # Some servers write the number as a text; RFC 6749 lets them leave it out.
    try:
        seconds = float(said) if isinstance(said, int | float | str) else _UNSAID_LIFETIME
    except ValueError:
        seconds = _UNSAID_LIFETIME
    if not math.isfinite(seconds) or seconds <= 0:
        seconds = _UNSAID_LIFETIME
    return min(seconds, _LONGEST_LIFETIME)


def is_good(token: Token, now: ClockReading) -> bool:
    """Tell whether a token lasts long enough for a session that begins now."""
    return age(token.issued, now) < token.lifetime - min(30.0, token.lifetime / 12)


def is_due(token: Token, now: ClockReading) -> bool:
    """Tell whether a token should be renewed while it is still good."""
    return age(token.issued, now) >= token.renew_at


def expires(token: Token) -> float:
    """Give the end of a token's life, in seconds since 1970."""
    return token.issued.wall + token.lifetime
