"""One line of the journal: ``X-MailRelay-<Event>: <JSON object>`` CRLF, ASCII throughout."""

import json
import math
from collections.abc import Mapping
from typing import Any

PREFIX = b"X-MailRelay-"
_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True)
"""Kept: ``json.dumps`` makes one each time, which costs as much as the line."""


def write(event: str, value: Mapping[str, Any]) -> bytes:
    """Give the line, CRLF included. No text in ``value`` can break out of it: JSON escapes."""
    text = _JSON.encode(value)
    return PREFIX + event.encode() + b": " + text.encode() + b"\r\n"


def moment(value: Any) -> float:
    """Read a time.

    Raises:
        ValueError: it is none.
        TypeError: it is no number at all.

    """
    time = float(value)
    if not math.isfinite(time):  # JSON as Python reads it knows NaN, which compares with nothing
        raise ValueError(value)
    return time
