"""The octets of the open files of a spool: read, written, measured, made durable."""

import errno
import os
import zlib
from collections.abc import Iterator

from emailrelay import linux

LARGEST_ENVELOPE = 64 * 1024 * 1024
_END = 1024 * 1024
"""Octets read at either end of a file that is too large for an envelope."""
_LEAST = 4096
"""Octets read at a time at least, so that a few new ones need no further call."""
_PIECE = 64 * 1024
"""Octets of a content that are read at a time; the C library keeps as many for each thread."""


def sync_data(descriptor: int) -> None:
    """Put a file's data on stable storage, and as much of its metadata as reading it needs.

    Raises:
        OSError: the disk refuses.

    """
    # macOS has no fdatasync; it is POSIX everywhere else.
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(descriptor)


def write_all(descriptor: int, octets: bytes | bytearray | memoryview) -> None:
    """Write all octets: a nearly full disk takes a part, and reports only the count."""
    rest = memoryview(octets)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def write_at(descriptor: int, octets: bytes, offset: int) -> None:
    """Write all octets at an offset in a file."""
    rest = memoryview(octets)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def read_all(descriptor: int, offset: int = 0) -> bytes:
    """Read an envelope file from ``offset`` to its end.

    Raises:
        OSError: it cannot be read, or is too large for an envelope.

    """
    size = os.fstat(descriptor).st_size - offset
    if size > LARGEST_ENVELOPE:
        raise OSError(errno.EOVERFLOW, f"an envelope of {size} octets")
    return read_known(descriptor, size, offset)


def read_whole(descriptor: int, length: int) -> bytes:
    """Read a file of this length.

    Raises:
        OSError: it cannot be read, or is shorter.

    """
    octets = os.pread(descriptor, length, 0)
    if len(octets) < length:
        raise OSError(errno.EIO, f"{len(octets)} of {length} octets can be read")
    return octets


def read_ends(descriptor: int) -> bytes:
    """Read an envelope file; of a too large one, the beginning and the end."""
    size = os.fstat(descriptor).st_size
    if size <= LARGEST_ENVELOPE:
        return read_known(descriptor, size)
    return os.pread(descriptor, _END, 0) + b"\n" + os.pread(descriptor, _END, size - _END)


def read_known(descriptor: int, size: int, offset: int = 0) -> bytes:
    """Read the ``size`` octets from ``offset``, and any that were appended meanwhile.

    Raises:
        OSError: it cannot be read, or has grown by more than an envelope has.

    """
    chunks: list[bytes] = []
    while chunk := os.pread(descriptor, room := max(size + 1, _LEAST), offset):
        chunks.append(chunk)
        offset += len(chunk)
        size -= len(chunk)
        if size <= 0 and len(chunk) < room:
            break  # the end: another call would only confirm it
        if size < -LARGEST_ENVELOPE:
            raise OSError(errno.EOVERFLOW, f"an envelope of more than {LARGEST_ENVELOPE} octets")
    return b"".join(chunks)


def lines(descriptor: int, offset: int) -> Iterator[bytes]:
    """Return the whole lines of an open file from ``offset`` on, without CRLF."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(offset)
        for line in file:
            if line.endswith(b"\n"):
                yield line.rstrip(b"\r\n")


def append(descriptor: int, octets: bytes, *, whole: int = 0) -> None:
    """Append whole lines to the file behind ``descriptor``; after a torn append, on a new line.

    ``whole``: the octets of the file that are known to end with a line.

    Claims have descriptors for reading: closing one for writing would wake every watcher.
    """
    writing = linux.reopen_to_append(descriptor)
    try:
        size = os.fstat(writing).st_size
        torn = size != whole and size > 0 and os.pread(writing, 1, size - 1) != b"\n"
        write_all(writing, b"\r\n" + octets if torn else octets)
    finally:
        os.close(writing)


def measure(descriptor: int) -> tuple[int, int]:
    """Return the length and the CRC-32 of an open file's octets."""
    length = crc32 = 0
    while chunk := os.pread(descriptor, _PIECE, length):
        crc32 = zlib.crc32(chunk, crc32)
        length += len(chunk)
    return length, crc32
