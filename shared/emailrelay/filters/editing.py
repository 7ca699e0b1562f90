"""Built-in filters that change the content: a complete new file replaces the old one."""

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from emailrelay.filters.copy import FilteredMail
from emailrelay.filters.result import opened

_CHUNK = 64 * 1024
_LONGEST_HEADER = 1024 * 1024
"""The most octets of a header."""
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|[ \t]")
"""The beginning of a header line: a field's name (RFC 5322 section 2.2), or a blank."""
_LONE_LF = re.compile(rb"(?<!\r)\n")


def add_message_id(content: Path, mail: FilteredMail) -> None:
    """Append a Message-ID to the header of a message without one (RFC 5322 section 3.6.4).

    It is made of the queue id and the same at each run.

    Raises:
        DamagedMessage: the content is not a regular file.
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
            write(f"Message-ID: <{mail.id}@{mail.host}>\r\n".encode())
            for chunk in chunks(old):
                write(chunk)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the rest of a file in pieces."""
    while chunk := file.read(_CHUNK):
        yield chunk


@contextmanager
def replaced(content: Path) -> Generator[Callable[[bytes], object]]:
    """Yield a function that writes a new content; it replaces the old one if the block succeeds."""
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
    """Return a function that writes the same text with CRLF for bare LF.

    Pieces may end anywhere.
    """
    before = b""

    def writing(piece: bytes) -> None:
        nonlocal before
        write(_LONE_LF.sub(b"\r\n", before + piece)[len(before) :])
        before = piece[-1:] if piece.endswith(b"\r") else b""

    return writing


def _header(file: BinaryIO) -> tuple[int, bool]:
    """Return the place for a Message-ID after the header, and whether there is one or no place."""
    end = 0
    while end < _LONGEST_HEADER and (line := file.readline(_LONGEST_HEADER)):
        if not _FIELD.match(line):
            break
        if line.partition(b":")[0].strip().lower() == b"message-id":
            return end, True
        end += len(line)
    else:
        if end >= _LONGEST_HEADER:
            # The next line may continue a folded one, and would then continue ours.
            file.seek(0)
            return 0, file.read(1) in b" \t"
    return end, False
