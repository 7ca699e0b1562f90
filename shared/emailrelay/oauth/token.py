"""A token as its server issued it, and the time of its renewal: plain functions."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from emailrelay.oauth.clocks import ClockReading, age
from emailrelay.secrets.secret import Secret

REFUSED_AGE = 60.0
"""A refused token that is younger than this (seconds) is not replaced.

The next one would be no better, and many sessions may be refused at once."""

_DEFAULT_LIFETIME = 600.0
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
    """A server's answer: a token, and sometimes a new refresh token that replaces the old one."""

    token: Token
    refresh_token: Secret | None = field(default=None)


def parse(answer: Mapping[str, object], *, asked: ClockReading, chance: float) -> Issued:
    """Read a successful answer of a token endpoint (RFC 6749 section 5.1).

    ``asked`` is the start of the request: the lifetime counts from there, so it is never too long.
    ``chance`` (0 to 1) spreads the renewals of several accounts.

    Raises:
        ValueError: it contains no usable token. The error contains no secret.

    """
    text = answer.get("access_token")
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or not _TEXT.fullmatch(text):
        raise ValueError("the answer has no usable access token")
    kind = answer.get("token_type", "")
    if str(kind).lower() != "bearer":
        # RFC 6749 section 7.1: a client must not use a token whose type it does not know.
        raise ValueError("the token is not of type Bearer")
    lifetime = _lifetime(answer.get("expires_in"))
    margin = min(300.0, lifetime / 6) * (1 + chance)
    refresh = answer.get("refresh_token")
    if refresh is not None and (not isinstance(refresh, str) or not _TEXT.fullmatch(refresh)):
        raise ValueError("the answer has an unusable refresh token")
    return Issued(
        token=Token(text=Secret(text), issued=asked, lifetime=lifetime, renew_at=lifetime - margin),
        refresh_token=None if refresh is None else Secret(refresh),
    )


def _lifetime(given: object) -> float:
    # Some servers write the number as a string; RFC 6749 makes it optional.
    try:
        seconds = float(given) if isinstance(given, int | float | str) else _DEFAULT_LIFETIME
    except ValueError:
        seconds = _DEFAULT_LIFETIME
    if not math.isfinite(seconds) or seconds <= 0:
        seconds = _DEFAULT_LIFETIME
    return min(seconds, _LONGEST_LIFETIME)


def is_good(token: Token, now: ClockReading) -> bool:
    """Tell whether a token is valid long enough for a session that begins now."""
    return age(token.issued, now) < token.lifetime - min(30.0, token.lifetime / 12)


def is_due(token: Token, now: ClockReading) -> bool:
    """Tell whether it is time to renew a token, which is still valid."""
    return age(token.issued, now) >= token.renew_at


def expires(token: Token) -> float:
    """Return the end of a token's lifetime, in seconds since 1970."""
    return token.issued.wall + token.lifetime
