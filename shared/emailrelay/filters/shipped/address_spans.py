"""Finds the addresses in a field such as From or To (RFC 5322 section 3.4), by their places.

It reads each octet once and does not recurse, whatever a field holds. Texts that are not an address
list give wrong places or none, and never an error.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_TOKEN = re.compile(
    rb'"(?:[^"\\]|\\.)*"?|<[^>]*>?|\[[^\]]*\]?|\(|[,;:]|[ \t\r\n]+|[^"<\[(,;: \t\r\n]+', re.DOTALL
)
_IN_COMMENT = re.compile(rb"\\.?|[()]|[^()\\]+", re.DOTALL)
_BLANKS = (b" ", b"\t", b"\r", b"\n")


class Span(NamedTuple):
    """The place of an address in a text: the offsets of its first octet and behind its last."""

    start: int
    end: int


_NOWHERE = Span(-1, -1)


def address_spans(text: bytes) -> Iterator[Span]:
    """Yield the places of the addresses in the body of a field, without their brackets."""
    word, angle, words, at = _NOWHERE, list[Span](), 0, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        token, end = (match[0], match.end()) if match else (text[at : at + 1], at + 1)
        if token == b"(":
            end = _comment_end(text, end)
        elif token in {b",", b";"}:
            yield from angle or ([word] if words == 1 else [])
            word, angle, words = _NOWHERE, [], 0
        elif token == b":":
            word, angle, words = _NOWHERE, [], 0  # The name of a group ends here.
        elif token.startswith(b"<"):
            angle, words = _inside(text, at, end), 2  # The words before it are a name.
        elif token[:1] not in _BLANKS:
            words += word.end != at or not words
            word = Span(word.start if word.end == at else at, end)
        at = end
    yield from angle or ([word] if words == 1 else [])


def _inside(text: bytes, start: int, end: int) -> list[Span]:
    inner = text[start + 1 : end].removesuffix(b">")
    first = start + 1 + len(inner) - len(inner.lstrip())
    last = start + 1 + len(inner.rstrip())
    return [Span(first, last)] if first < last else []


def _comment_end(text: bytes, at: int) -> int:
    depth = 1
    while at < len(text) and depth:
        match = _IN_COMMENT.match(text, at)
        token, at = (match[0], match.end()) if match else (b"", at + 1)
        depth += (token == b"(") - (token == b")")
    return at
