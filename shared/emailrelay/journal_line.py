"""One line of the journal: ``X-MailRelay-<Event>: <JSON object>`` CRLF, ASCII throughout."""

import json
import math
from collections.abc import Mapping
from typing import Any

from emailrelay.compact_json import json_writer

PREFIX = b"X-MailRelay-"
_LARGEST = 2**64
_write = json_writer(ascii_only=True)
_READER = json.JSONDecoder()


def write(event: str, value: Mapping[str, Any]) -> bytes:
    """Return the line with CRLF. JSON escapes all texts, so none can break out of the line."""
    text = _write(value)
    return PREFIX + event.encode() + b": " + text.encode() + b"\r\n"


def read(text: bytes) -> dict[str, Any]:
    """Read the object of a line, given without its name; any problem raises an error.

    Raises:
        ValueError, RecursionError: it is no JSON.

    """
    line = text.decode().strip()
    found: tuple[dict[str, Any], int] = _READER.raw_decode(line)
    value, end = found
    if end != len(line):
        raise ValueError(line)
    return value


def moment(value: Any) -> float:
    """Read a time.

    Raises:
        ValueError: the number is not a time.
        TypeError: the value is not a number.

    """
    time = float(value)
    if not math.isfinite(time):  # Python's JSON accepts NaN, which compares with nothing
        raise ValueError(value)
    return time


def count(value: Any) -> int:
    """Read a number of octets, tries or recipients, or a checksum.

    Raises:
        ValueError, OverflowError: it is negative or no such number.
        TypeError: the value is not a number.

    """
    number = int(value)
    if not 0 <= number < _LARGEST:  # a sum of the longest numbers could not be printed
        raise ValueError("no count")
    return number
