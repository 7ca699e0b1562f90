"""The header of a content as a list of fields, each with its line ends, and the rest's place."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple

from emailrelay.errors import RelayError
from emailrelay.reply import Reply

MOST_OCTETS = 1024 * 1024
"""The most octets of a header that filters read."""
_CHUNK = 64 * 1024
_BEGINNING = re.compile(rb"[!-9;-~]+[ \t]*:")
"""The name of a field and its colon (RFC 5322 section 2.2)."""
_TOO_LONG = Reply(552, "5.3.4 header too long")


class ContentRefused(RelayError):
    """A filter cannot work on this content: ``reply`` for the client, the text for the log."""

    def __init__(self, reply: Reply, reason: str) -> None:
        """Take both."""
        super().__init__(reason)
        self.reply = reply


class HeaderBlock(NamedTuple):
    """The fields of a header, octet for octet, and the offset of the first octet after them.

    The rest begins with the empty line, unless the content has none.
    """

    fields: list[bytes]
    end: int


def read_header(file: BinaryIO) -> HeaderBlock:
    """Read the header at the beginning of a content (RFC 5322 section 2.2).

    Raises:
        ContentRefused: it is longer than ``MOST_OCTETS``.
        OSError: the system's fault.

    """
    file.seek(0)
    lines, end = list[bytes](), 0
    starts = list[int]()
    while line := file.readline(MOST_OCTETS + 1):
        if _BEGINNING.match(line):
            starts.append(len(lines))
        elif not (lines and line.startswith((b" ", b"\t"))):
            break
        end += len(line)
        if end > MOST_OCTETS:
            raise ContentRefused(_TOO_LONG, f"the header has more than {MOST_OCTETS} octets")
        lines.append(line)
    ends = [*starts[1:], len(lines)]
    fields = [b"".join(lines[first:last]) for first, last in zip(starts, ends, strict=False)]
    return HeaderBlock(fields, end)


def name_of(field: bytes) -> bytes:
    """Return the name of a field in lower case."""
    return field.partition(b":")[0].rstrip(b" \t").lower()


def body_of(field: bytes) -> bytes:
    """Return the text behind the colon, without its line ends (RFC 5322 section 2.2.3)."""
    return field.partition(b":")[2].replace(b"\r", b"").replace(b"\n", b"")


def write_message(
    write: Callable[[bytes], object], fields: Iterable[bytes], file: BinaryIO, end: int
) -> None:
    """Write fields, and the rest of a content from ``end`` on, as ``message_pieces`` yields it."""
    for piece in message_pieces(fields, file, end):
        write(piece)


def message_pieces(fields: Iterable[bytes], file: BinaryIO, end: int) -> Iterator[bytes]:
    """Yield fields, and the rest of a content from ``end`` on.

    A body without an empty line in front gets one, so that none of it looks like a field.
    """
    for field in fields:
        yield field if field.endswith(b"\n") else field + b"\r\n"
    file.seek(end)
    start = file.read(2)
    if start and not start.startswith((b"\r\n", b"\n")):
        yield b"\r\n"
    yield start
    while chunk := file.read(_CHUNK):
        yield chunk
