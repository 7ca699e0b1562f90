"""A mail address in a command, octet for octet as in the envelope.

The address is never rewritten. One that cannot be sent unchanged is refused, because a changed one
may belong to another person (RFC 5321 section 4.1.2).
"""

import re
from functools import lru_cache

from emailrelay.envelope import Address
from emailrelay.errors import AddressError

LONGEST = 900
"""Octets: with verb and parameters, the command still fits the shortest line limit of servers."""

_PLAIN = re.compile(rf"[!#-;=?-~]{{1,{LONGEST}}}")
"""Most addresses: they have no character that could end the address."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# A quoted string with its quoted pairs (RFC 5321 4.1.2, quoted-string), as one unit.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BREAKS_OUT = re.compile(r'[<>" ]')


@lru_cache(maxsize=1024)  # hosts send for few senders, and often to the same recipients
def on_wire(address: Address, *, utf8: bool) -> bytes:
    """Return the octets of ``address``.

    Args:
        address: as in the envelope.
        utf8: whether the message is sent with SMTPUTF8, which allows octets beyond ASCII.

    Raises:
        AddressError: a server could read another address, or another command.

    """
    if _PLAIN.fullmatch(address):
        return address.encode()
    _check(address, utf8=utf8)
    try:
        octets = address.encode("utf-8")
    except UnicodeEncodeError as error:
        raise AddressError("is not Unicode text") from error
    if len(octets) > LONGEST:
        raise AddressError(f"is longer than {LONGEST} octets")
    return octets


def _check(address: Address, *, utf8: bool) -> None:
    if not address:
        raise AddressError("is empty")
    if _CONTROL.search(address):
        raise AddressError("has a control character")
    if _BREAKS_OUT.search(_QUOTED.sub("", address)):
        raise AddressError("has a blank, quote or angle bracket outside quotes")
    if not utf8 and not address.isascii():
        raise AddressError("is not ASCII, and the message was not sent with SMTPUTF8")
