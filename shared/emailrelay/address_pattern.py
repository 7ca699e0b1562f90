"""Patterns of addresses, as routes have them: ``user@domain``, ``domain``, ``*.domain``, ``*`` and ``<>``."""

import re
from collections.abc import Iterator

ANYONE = "*"
NOBODY = "<>"
"""The pattern of the null sender."""

_DOMAIN = r"(?:[^\s@*<>\"\[\]]+|\[[^\s\[\]]+\])"
_PATTERN = re.compile(rf"\*|<>|(?:[^\s@*<>]+@)?{_DOMAIN}|(?:\*@)?(?:\*\.)?{_DOMAIN}")


def check_pattern(pattern: str) -> str:
    """Return the pattern; raise ValueError if it is none."""
    if not _PATTERN.fullmatch(pattern):
        raise ValueError("write user@domain, domain, *.domain, * (everyone) or <> (no sender)")
    return pattern


def matches(pattern: str, address: str) -> bool:
    """Tell whether an address, or a bare domain written ``@domain``, fits a pattern.

    Upper and lower case are the same, in the local part too: whoever writes a pattern means both.
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
    """Give what a pattern is found by: it is among ``keys_of`` every address that it fits."""
    return pattern.lower().removeprefix("*@")


def keys_of(address: str) -> Iterator[str]:
    """Give the keys of all patterns that may fit an address; few, however many patterns there are."""
    address = address.lower()
    domain = split(address)[1]
    yield from (ANYONE, address or NOBODY, domain)
    dot = domain.find(".")
    while dot >= 0:
        yield f"*{domain[dot:]}"
        dot = domain.find(".", dot + 1)


def split(address: str) -> tuple[str, str]:
    """Cut at the last ``@``; that of a quoted local part alone (``"a@b"``) is none."""
    local, at, domain = address.rpartition("@")
    return (local, domain) if at and not domain.endswith('"') else (address, "")
