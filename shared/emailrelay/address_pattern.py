"""The address patterns of routes: ``user@domain``, ``domain``, ``*.domain``, ``*`` and ``<>``."""

import re
from collections.abc import Iterator

ANYONE = "*"
NOBODY = "<>"
"""The pattern of the null sender."""

_DOMAIN = r"(?:[^\s@*<>\"\[\]]+|\[[^\s\[\]]+\])"
_PATTERN = re.compile(rf"\*|<>|(?:[^\s@*<>]+@)?{_DOMAIN}|(?:\*@)?(?:\*\.)?{_DOMAIN}")


def check_pattern(pattern: str) -> str:
    """Return the pattern; raise ValueError if it is invalid."""
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("write user@domain, domain, *.domain, * (everyone) or <> (no sender)")
    return pattern


def matches(pattern: str, address: str) -> bool:
    """Tell whether an address, or a bare domain written ``@domain``, matches a pattern.

    Case does not matter, also in the local part: the author of a pattern means both.
    """
    pattern, address = key(pattern), address.lower()
    if pattern == ANYONE:
        return True
    if pattern == NOBODY:
        return not address
    domain = split(address)[1]
    if "@" in pattern:
        return pattern == address
    if pattern.startswith("*."):
        return domain.endswith(pattern[1:])
    return domain == pattern


def key(pattern: str) -> str:
    """Return the key of a pattern: ``keys_of`` each matching address contains it."""
    return pattern.lower().removeprefix("*@")


def keys_of(address: str) -> Iterator[str]:
    """Return the keys of all patterns that may match an address.

    A few, for any number of patterns.
    """
    address = address.lower()
    domain = split(address)[1]
    yield from (ANYONE, address or NOBODY, domain)
    dot = domain.find(".")
    while dot >= 0:
        yield f"*{domain[dot:]}"
        dot = domain.find(".", dot + 1)


def split(address: str) -> tuple[str, str]:
    """Split at the last ``@``, but not within a quoted local part alone (``"a@b"``)."""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at and not domain.endswith('"') else (address, "")
