"""Filters of our own that change the content: a new file takes its place when it is complete."""

import re
import socket
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emailrelay.filters.result import opened
from emailrelay.queue_id import QueueId

_CHUNK = 64 * 1024
_LONGEST_HEADER = 1024 * 1024
"""Octets in which a header is looked for; more is no header of mail."""
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")
"""How a line of a header begins: with a field's name (RFC 5322 section 2.2), or folded."""
_LONE_LF = re.compile(rb"(?<!\r)\n")


def add_message_id(content: Path, message: QueueId) -> None:
    """Put a Message-ID behind the header of a message that has none (RFC 5322 section 3.6.4).

    It is made of the queue id and the same at each run.

    Raises:
        DamagedMessage: the content is no regular file.
        OSError: the system's fault.

    """
    with opened(content, "content") as old:
        end, has_one = _header(old)
        if has_one:
            return
        old.seek(0)
        with replaced(content) as write:
            head = old.read(end)
            write(head if not head or head.endswith(b"\n") else head + b"\r\n")
            write(f"Message-ID: <{message}@{socket.gethostname()}>\r\n".encode())
            for chunk in chunks(old):
                write(chunk)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file in pieces."""
    while chunk := file.read(_CHUNK):
        yield chunk


@contextmanager
def replaced(content: Path) -> Generator[Callable[[bytes], object]]:
    """Give what writes a new content; it takes the old one's place if the block ends well."""
    new = content.with_name(f"{content.name}.edited")
    new.unlink(missing_ok=True)
    with new.open("xb") as file:
        try:
            yield file.write
        except BaseException:
            new.unlink()
            raise
    new.replace(content)


def with_crlf(write: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Give what writes the same with CRLF where a lone LF is; pieces may end anywhere."""
    before = b""

    def writing(piece: bytes) -> None:
        nonlocal before
        write(_LONE_LF.sub(b"\r\n", before + piece)[len(before) :])
        before = piece[-1:] if piece.endswith(b"\r") else b""

    return writing


def _header(file: BinaryIO) -> tuple[int, bool]:
    """Return where a Message-ID can stand behind the header, and whether there is one, or no place for it."""
    end = 0
    while end < _LONGEST_HEADER and (line := file.readline(_LONGEST_HEADER)):
        if not _FIELD.match(line):
            break
        if line.partition(b":")[0].strip().lower() == b"message-id":
            return end, True
        end += len(line)
    else:
        if end >= _LONGEST_HEADER:
            # What follows may be the rest of a folded line, and would become the rest of ours.
            file.seek(0)
            return 0, file.read(1) in b" \t"
    return end, False
