"""The header fields of a message, decoded for people and bounded."""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from typing import NamedTuple

from emailrelay.charsets import codec_of

MOST_OCTETS = 64 * 1024
"""Octets of a content in which header fields are looked for."""
MOST_FIELDS = 100
_LONGEST = 1000
"""Characters of a field that are kept."""
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")


class HeaderField(NamedTuple):
    """A field of the header: its name as written, and its decoded value."""

    name: str
    value: str


def header_fields(beginning: bytes) -> list[HeaderField]:
    """Return the first fields of the header at the beginning of a content, in their order.

    Encoded words are decoded (RFC 2047). Octets that are no UTF-8 become escapes.
    """
    block = _BLANK_LINE.split(beginning[:MOST_OCTETS], maxsplit=1)[0]
    found = list[HeaderField]()
    for line in _FOLD.sub(b"", block).splitlines():
        name, colon, value = line.partition(b":")
        if colon and name.strip() and not name[:1].isspace():
            shown = _text(name.strip())
            found.append(HeaderField(shown[:_LONGEST], _decoded(_text(value.strip()))[:_LONGEST]))
        if len(found) == MOST_FIELDS:
            break
    return found


def field(fields: list[HeaderField], name: str) -> str:
    """Return the value of the first field with a name; empty: there is none."""
    return next((each.value for each in fields if each.name.lower() == name.lower()), "")


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")


def _decoded(value: str) -> str:
    """Decode the encoded words of a value; a value with a bad one stays as it is."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            part if isinstance(part, str) else _word(part, charset or "ascii")
            for part, charset in decode_header(value)
        )
    except (HeaderParseError, ValueError):  # base64 or a charset that is none
        return value


def _word(octets: bytes, charset: str) -> str:
    codec = codec_of(charset)
    if codec is None:
        raise ValueError(charset)
    return octets.decode(codec, "replace")
