"""The MIME parts of a message (RFC 2045, 2046), found within bounds of depth, number and size.

The email package of Python reads a hostile message in a time that grows with the square of its
size. This reader takes one pass over the octets for each level of nesting.
"""

import re
from collections.abc import Callable, Iterator
from email.message import Message
from typing import NamedTuple

from emailrelay.queue.headers import MOST_OCTETS, decoded, field, raw_fields

MOST_PARTS = 100
DEEPEST = 8
_MOST_ENTITIES = 4 * MOST_PARTS
"""Entities that are read: a part that consists of parts is one, too, even if it has none."""
_LONGEST_VALUE = 1000
"""Characters of a field that are read: Python reads parameters in quadratic time."""
_LONGEST_NAME = 200
_BLANK_LINE = re.compile(rb"^\r?\n|\r?\n\r?\n")


class ShownPart(NamedTuple):
    """A part that has no parts."""

    number: str
    """Its place, as in IMAP: ``1.2`` (RFC 9051, section 6.4.5)."""
    kind: str
    """Its type in lower case, such as ``text/plain``."""
    charset: str
    encoding: str
    """The transfer encoding, in lower case."""
    filename: str
    attached: bool
    """True if it is an attachment."""
    octets: bytes
    """Its content, still encoded."""


class MimeParts(NamedTuple):
    """The parts of a message."""

    parts: tuple[ShownPart, ...]
    whole: bool
    """False: the message has more parts, or deeper ones."""


def read_parts(content: bytes) -> MimeParts:
    """Return the first parts of a message, in their order."""
    found = list[ShownPart]()
    for part in _walk(content, "", 0, iter(range(_MOST_ENTITIES))):
        if part is None or len(found) == MOST_PARTS:
            return MimeParts(tuple(found), whole=False)
        found.append(part)
    return MimeParts(tuple(found), whole=True)


def _walk(
    entity: bytes, number: str, depth: int, left: Iterator[int]
) -> Iterator[ShownPart | None]:
    """Yield the parts of an entity; None: there are parts that are too deep, or too many.

    ``left`` has an item for each entity that may still be read.
    """
    if next(left, None) is None:
        yield None
        return
    header, body = _split(entity)
    facts = _facts(header)
    boundary = _boundary(facts)
    if not boundary:
        yield _leaf(facts, body, number or "1")
    elif depth == DEEPEST:
        yield None
    else:
        for place, inner in enumerate(_inner(body, boundary), 1):
            inner_number = f"{number}.{place}" if number else str(place)
            yield from _walk(inner, inner_number, depth + 1, left)


def _split(entity: bytes) -> tuple[bytes, bytes]:
    end = _BLANK_LINE.search(entity)
    return (entity, b"") if end is None else (entity[: end.start()], entity[end.end() :])


def _facts(header: bytes) -> Message:
    """Return the three fields that matter, each of bounded length."""
    facts = Message()
    fields = raw_fields(header[:MOST_OCTETS])
    for name in ("Content-Type", "Content-Disposition", "Content-Transfer-Encoding"):
        if value := field(fields, name):
            facts[name] = value[:_LONGEST_VALUE]
    return facts


def _boundary(facts: Message) -> str:
    """Return the boundary of a multipart; empty: it has none, or the entity is no multipart."""
    return _parameter(facts.get_boundary) if facts.get_content_maintype() == "multipart" else ""


def _inner(body: bytes, boundary: str) -> Iterator[bytes]:
    """Yield the entities between the boundaries; the last boundary may be missing."""
    line = rb"(?m)^--" + re.escape(boundary.encode(errors="replace")) + rb"(--)?[ \t]*\r?(?:\n|\Z)"
    begin: int | None = None
    for found in re.finditer(line, body):
        if begin is not None:
            yield _without_line_end(body[begin : found.start()])
        begin = found.end()
        if found[1]:
            return
    if begin is not None:
        yield body[begin:]


def _without_line_end(octets: bytes) -> bytes:
    # The line end before a boundary belongs to the boundary (RFC 2046, section 5.1.1).
    return octets.removesuffix(b"\n").removesuffix(b"\r")


def _leaf(facts: Message, body: bytes, number: str) -> ShownPart:
    return ShownPart(
        number=number,
        kind=facts.get_content_type(),
        charset=_parameter(facts.get_content_charset),
        encoding=str(facts.get("Content-Transfer-Encoding", "")).strip().lower(),
        # Encoded words do not belong there (RFC 2047, section 5), but many programs write them.
        filename=decoded(_parameter(facts.get_filename))[:_LONGEST_NAME],
        attached=facts.get_content_disposition() == "attachment",
        octets=body,
    )


def _parameter(read: Callable[[], object]) -> str:
    """Return what ``read`` finds in a field; empty: nothing, or a parameter of a broken form."""
    try:
        return str(read() or "")
    except (LookupError, TypeError, ValueError):
        # RFC 2231: a character set that is none, or parts of which only some have numbers.
        return ""
