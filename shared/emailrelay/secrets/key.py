"""The forms of a password in a secrets file, and their checks."""

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import TypeAlias

from emailrelay.secrets import md5_state
from emailrelay.secrets.secret import Secret

_PHC = re.compile(
    r"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9_-]+)\$([A-Za-z0-9_-]+)"
)
_MOST_MEMORY = 128 * 1024 * 1024
"""Octets that one check may use. With more, each wrong password could block the service."""


@dataclass(frozen=True, slots=True)
class PlainKey:
    """The password itself: serves every mechanism."""

    secret: Secret


@dataclass(frozen=True, slots=True)
class Md5Key:
    """Intermediate HMAC-MD5 states of the password; see ``md5_state``."""

    states: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ScryptKey:
    """A salted scrypt hash (RFC 7914): serves PLAIN and LOGIN, which transmit the password."""

    log_n: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    hash: bytes = field(repr=False)


Key: TypeAlias = PlainKey | Md5Key | ScryptKey

_COSTS = (14, 8, 5)
"""The costs of a new hash: about 16 MiB, and at least a tenth of a second."""


def fits_password(key: Key, password: str) -> bool:
    """Tell whether a password is right, in a time that does not depend on it.

    A ``ScryptKey`` takes up to half a second of processor time: call it in a thread.
    """
    match key:
        case PlainKey(secret):
            return hmac.compare_digest(secret.reveal().encode(), password.encode())
        case Md5Key(states):
            return hmac.compare_digest(states, md5_state.masked(password))
        case ScryptKey():
            return hmac.compare_digest(key.hash, _scrypt(key, password))


def fits_at_once(key: Key, password: str, states: bytes) -> bool:
    """Tell whether a password is right for a key that is not a scrypt hash.

    ``states`` is ``md5_state.masked`` of the password, which the caller computes for every user.
    """
    if isinstance(key, Md5Key):
        return hmac.compare_digest(key.states, states)
    return isinstance(key, PlainKey) and fits_password(key, password)


def cost(key: ScryptKey) -> int:
    """Return a number that grows with the time of a hash."""
    return (key.r * key.p) << key.log_n


def answers_challenge(key: Key, challenge: bytes, digest: str) -> bool:
    """Tell whether ``digest``, in hexadecimal, answers a CRAM-MD5 challenge (RFC 2195)."""
    if isinstance(key, ScryptKey):
        return False
    return hmac.compare_digest(cram_md5(key, challenge).encode(), digest.lower().encode())


def cram_md5(key: PlainKey | Md5Key, challenge: bytes) -> str:
    """Return the answer to a CRAM-MD5 challenge: HMAC-MD5 in hexadecimal."""
    match key:
        case PlainKey(secret):
            return hmac.new(secret.reveal().encode(), challenge, hashlib.md5).hexdigest()
        case Md5Key(states):
            return md5_state.hmac_md5(states, challenge)


def make_scrypt(password: str, salt: bytes) -> ScryptKey:
    """Hash a password; ``salt`` is 16 random octets."""
    key = ScryptKey(*_COSTS, salt, b"\0" * 32)
    return ScryptKey(key.log_n, key.r, key.p, salt, _scrypt(key, password))


def write_scrypt(key: ScryptKey) -> str:
    """Write a hash as one word, in the notation of the Password Hashing Competition."""
    salt, found = (base64.urlsafe_b64encode(o).decode().rstrip("=") for o in (key.salt, key.hash))
    return f"$scrypt$ln={key.log_n},r={key.r},p={key.p}${salt}${found}"


def read_scrypt(text: str) -> ScryptKey:
    """Parse the notation of ``write_scrypt``.

    Raises:
        ValueError: the text is not such a hash, or its check costs too much. The error does not
            contain the text.

    """
    match = _PHC.fullmatch(text)
    if match is None:
        raise ValueError("not a scrypt hash")
    log_n, r, p = (int(match[group]) for group in (1, 2, 3))
    if not (1 <= log_n <= 20 and r >= 1 and 1 <= p <= 16 and 128 * r << log_n <= _MOST_MEMORY):
        raise ValueError("a scrypt hash with unusable costs")
    salt, found = _octets(match[4]), _octets(match[5])
    if len(found) < 16:
        raise ValueError("a scrypt hash that is too short")
    return ScryptKey(log_n, r, p, salt, found)


def _octets(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not a scrypt hash") from None


def _scrypt(key: ScryptKey, password: str) -> bytes:
    return hashlib.scrypt(
        password.encode(),
        salt=key.salt,
        n=1 << key.log_n,
        r=key.r,
        p=key.p,
        maxmem=2 * _MOST_MEMORY,
        dklen=len(key.hash),
    )
