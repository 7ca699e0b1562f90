"""Finds the addresses in a field such as From or To (RFC 5322 section 3.4), by their places.

It reads each octet once and does not recurse, whatever a field holds. Texts that are no address
list give wrong places or none, and never an error.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*"?|<[^>]*>?|\[[^\]]*\]?|\(|[,;:]|[ \t\r\n]+|[^"<\[(,;: \t\r\n]+', re.DOTALL
)
_IN_COMMENT = re.compile(rb"\\.?|[()]|[^()\\]+", re.DOTALL)
_BLANKS = b" \t\r\n"


class Span(NamedTuple):
    """The place of an address in a text: the offsets of its first octet and behind its last."""

    start: int
    end: int


def address_spans(text: bytes) -> Iterator[Span]:
    """Yield the places of the addresses in the body of a field, without their brackets."""
    found, angle, blank, at = list[Span](), False, False, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        token, end = (match[0], match.end()) if match else (text[at : at + 1], at + 1)
        if token == b"(":
            end = _comment_end(text, end)
        elif token in b",;" and token:
            yield from found
            found, angle, blank = [], False, False
        elif token == b":":
            found, angle, blank = [], False, False  # The name of a group ends here.
        elif token.startswith(b"<"):
            found, angle = _inside(text, at, end), True
        elif token[:1] in _BLANKS and token:
            blank = True
        elif not angle:
            found = _joined(found, at, end, blank=blank)
            blank = False
        at = end
    yield from found


def _joined(found: list[Span], start: int, end: int, *, blank: bool) -> list[Span]:
    """Return the place of an address without brackets, which has no blank within."""
    if not found or blank:
        return [Span(start, end)]
    return [Span(found[0].start, end)]


def _inside(text: bytes, start: int, end: int) -> list[Span]:
    inner = text[start + 1 : end].removesuffix(b">")
    first = start + 1 + len(inner) - len(inner.lstrip(_BLANKS))
    last = start + 1 + len(inner.rstrip(_BLANKS))
    return [Span(first, last)] if first < last else []


def _comment_end(text: bytes, at: int) -> int:
    depth = 1
    while at < len(text) and depth:
        match = _IN_COMMENT.match(text, at)
        token, at = (match[0], match.end()) if match else (b"", at + 1)
        depth += (token == b"(") - (token == b")")
    return at
