"""Compares a certificate with a name (RFC 9525) that differs from the name sent to the server.

OpenSSL compares the certificate with the name sent to the server (SNI). This module does it if a
policy sends one name and expects another in the certificate.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any


def names_of(certificate: Mapping[str, Any]) -> list[str]:
    """Return the DNS names and IP addresses of a certificate in the form of ``getpeercert``."""
    alternatives: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    return [name for kind, name in alternatives if kind in {"DNS", "IP Address"}]


def is_for(certificate: Mapping[str, Any], wanted: str) -> bool:
    """Tell whether a certificate, whose chain has been verified, is for the host ``wanted``."""
    alternatives: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())
    try:
        address = ip_address(wanted)
    except ValueError:
        return any(kind == "DNS" and _fits(name, wanted) for kind, name in alternatives)
    return any(kind == "IP Address" and ip_address(name) == address for kind, name in alternatives)


def _fits(pattern: str, wanted: str) -> bool:
    """Compare names; a ``*`` matches the whole first label only (section 6.3)."""
    pattern, wanted = (name.rstrip(".").lower() for name in (pattern, wanted))
    first, _, rest = pattern.partition(".")
    if first == "*":
        return bool(rest) and "." in rest and wanted.partition(".")[2] == rest
    return pattern == wanted
