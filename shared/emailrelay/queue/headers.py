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
_LONGEST_RAW = 4 * _LONGEST
"""Octets of a field that are decoded: encoded words are longer than their text."""
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
    return [HeaderField(name, decoded(value)) for name, value in raw_fields(beginning)]


def raw_fields(beginning: bytes) -> list[HeaderField]:
    """Return the same fields as ``header_fields``, but with encoded words as they are."""
    block = _BLANK_LINE.split(beginning[:MOST_OCTETS], maxsplit=1)[0]
    found = list[HeaderField]()
    for line in _FOLD.sub(b"", block).splitlines():
        name, colon, value = line.partition(b":")
        if colon and name.strip() and not name[:1].isspace():
            shown = _text(name.strip()[:_LONGEST])[:_LONGEST]
            found.append(HeaderField(shown, _text(value.strip()[:_LONGEST_RAW])))
        if len(found) == MOST_FIELDS:
            break
    return found


def field(fields: list[HeaderField], name: str) -> str:
    """Return the value of the first field with a name; empty: there is none."""
    return next((each.value for each in fields if each.name.lower() == name.lower()), "")


def _text(octets: bytes) -> str:
    return octets.decode(errors="backslashreplace")


def decoded(value: str) -> str:
    """Return a value of bounded length with its encoded words decoded; a bad one stays as it is."""
    cut = value[:_LONGEST_RAW]
    # Where an encoded word has no end, Python's decoder looks for it in all of the rest, and once
    # more for the next word: so it gets no text after the last end, and only one line.
    words, end, rest = " ".join(cut.splitlines()).rpartition("?=")
    if "=?" not in words:
        return cut[:_LONGEST]
    try:
        text = "".join(
            part if isinstance(part, str) else _word(part, charset or "ascii")
            for part, charset in decode_header(words + end)
        )
    except (HeaderParseError, ValueError):  # base64 or a charset that is none
        return cut[:_LONGEST]
    return (text + rest)[:_LONGEST]


def _word(octets: bytes, charset: str) -> str:
    codec = codec_of(charset)
    if codec is None:
        raise ValueError(charset)
    return octets.decode(codec, "replace")
