"""The facts about the session in which a message arrived: what the old envelope format lacks."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

_LONGEST = 255
"""The most octets of a fact that are kept: those of a domain name (RFC 5321 section 4.5.3.1.2)."""


class ArrivalFacts(NamedTuple):
    """The facts; filters that ask for them get them. All are texts of the client or of OpenSSL."""

    helo: str = ""
    """The client's own name."""
    tls: str = ""
    """The version of TLS, such as ``TLSv1.3``; empty: none."""
    cipher: str = ""
    """The name of the cipher, such as ``TLS_AES_256_GCM_SHA384``."""
    mechanism: str = ""
    """The mechanism by which the client logged in, such as ``PLAIN``."""
    known: bool = False
    """True for mail of an SMTP client, false for mail of a program on this host."""


UNKNOWN_ARRIVAL = ArrivalFacts()


def encode(facts: ArrivalFacts) -> dict[str, Any]:
    """Return the facts for a line of JSON."""
    named = {"helo": facts.helo, "tls": facts.tls, "cipher": facts.cipher, "auth": facts.mechanism}
    return {name: text[:_LONGEST] for name, text in named.items() if text}


def decode(line: bytes) -> ArrivalFacts | None:
    """Read the facts from a line of JSON; None: it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return _facts(value) if isinstance(value, dict) else None


def _facts(value: Mapping[str, Any]) -> ArrivalFacts:
    def text(name: str) -> str:
        found = str(value.get(name, ""))[:_LONGEST]
        return found if found.isprintable() else ""

    return ArrivalFacts(text("helo"), text("tls"), text("cipher"), text("auth"), known=True)
