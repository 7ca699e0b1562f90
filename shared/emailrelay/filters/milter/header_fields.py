"""The header of a message as a milter sees it; no I/O."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_NAME = re.compile(rb"([!-9;-~]+)[ \t]*:")
"""The name of a field (RFC 5322 section 2.2); older mail has blanks before the colon."""
_LINE_END = re.compile(rb"\r?\n")


@dataclass(frozen=True, slots=True)
class MilterField:
    """A field with its lines as they are in the message."""

    name: bytes
    lines: bytes
    """All lines, each with its end."""
    hidden: bool = False
    """True for our own Received line, which no milter sees."""

    def value(self, *, leading_space: bool) -> bytes:
        """Return the value for a milter: lines end with LF, the last one with nothing.

        Without ``leading_space`` it lacks one blank behind the colon.
        """
        text = _LINE_END.sub(b"\n", self.lines.partition(b":")[2]).removesuffix(b"\n")
        return text if leading_space else text.removeprefix(b" ")


class MilterHeader(NamedTuple):
    """The fields at the beginning of a content, and the number of octets before its body."""

    fields: tuple[MilterField, ...]
    body_at: int


def split(content: bytes, own: bytes) -> MilterHeader:
    """Read the header at the beginning of a content.

    ``content`` has at least the whole header. ``own`` is only in our own Received line.
    The first line that cannot belong to a field begins the body (RFC 5322 section 2.1); an empty
    line before the body belongs to neither.
    """
    fields: list[MilterField] = []
    at = 0
    while (match := _NAME.match(content, at)) is not None:
        end = _end_of_field(content, at)
        name, lines = match[1], content[at:end]
        hidden = name.lower() == b"received" and own in lines and not any(f.hidden for f in fields)
        fields.append(MilterField(name, lines, hidden))
        at = end
    for empty in (b"\r\n", b"\n"):
        if content.startswith(empty, at):
            return MilterHeader(tuple(fields), at + len(empty))
    return MilterHeader(tuple(fields), at)


def written(fields: Sequence[MilterField]) -> bytes:
    """Return the header with the empty line behind it."""
    lines = b"".join(
        field.lines if field.lines.endswith(b"\n") else field.lines + b"\r\n" for field in fields
    )
    return lines + b"\r\n"


def _end_of_field(content: bytes, at: int) -> int:
    while True:
        end = content.find(b"\n", at) + 1
        if not end:
            return len(content)
        if content[end : end + 1] not in {b" ", b"\t"}:
            return end
        at = end
