"""The facts about the session in which a message arrived: what the old envelope format lacks."""

import json
from functools import lru_cache
from typing import Any, NamedTuple


class ArrivalFacts(NamedTuple):
    """The facts, for filters that ask for them."""

    helo: str = ""
    """The client's own name, as it gave it."""
    tls: str = ""
    """The version of TLS, such as ``TLSv1.3``; empty: none."""
    cipher: str = ""
    """The name of the cipher, such as ``TLS_AES_256_GCM_SHA384``."""
    mechanism: str = ""
    """The mechanism by which the client logged in, such as ``PLAIN``."""


def encode(facts: ArrivalFacts) -> dict[str, Any]:
    """Return the facts for a line of JSON."""
    return {name: text for name, text in facts._asdict().items() if text}


def decode(line: bytes) -> ArrivalFacts | None:
    """Read the facts from a line of JSON; None: it is none."""
    return _known(line) if len(line) <= _LONGEST_KEPT else _decoded(line)


def _decoded(line: bytes) -> ArrivalFacts | None:
    try:
        value: Any = json.loads(line)
        return ArrivalFacts(*(str(value.get(name, "")) for name in ArrivalFacts._fields))
    except (ValueError, RecursionError, AttributeError):
        return None


_LONGEST_KEPT = 1000
"""Octets; longer lines are read each time, since the kept ones use memory."""
_known = lru_cache(maxsize=256)(_decoded)
"""The messages of one client have the same facts."""
