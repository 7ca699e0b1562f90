"""The content of a claimed message, opened and checked."""

import os
import zlib
from collections.abc import AsyncIterator
from typing import NamedTuple

from emailrelay.errors import StoreError
from emailrelay.journal import History
from emailrelay.store.base import CHUNK
from emailrelay.store.content_damage import content_damage
from emailrelay.store.spool.disk import regular_files
from emailrelay.store.spool.disk.directory import Location

SMALL = 64 * 1024
"""Octets of a content that is read at once, and closed at once when it is removed: 20 µs, less than
by another thread."""
_LEAST = 4096
"""Octets of a content that are read at a time at least."""


class OpenContent(NamedTuple):
    """The content of a claimed message."""

    descriptor: int
    size: int
    octets: bytes | None = None
    """All of a small one that is what was accepted; None: it is read when it is needed."""


def open_content(at: Location, history: History) -> OpenContent | str:
    """Open the content; return what is wrong if it is damaged."""
    length, crc32 = history.length, history.crc32
    if length is not None and crc32 is not None and 0 < length <= SMALL:
        known = regular_files.open_with_octets(at, length, crc32)
        if known is not None:
            return OpenContent(known[0], length, known[1])
    opened = regular_files.open_with_status(at)
    if opened is None:
        return "content: missing"
    content, size = opened[0], opened[1].st_size
    damage = content_damage(history, size)
    if damage is not None:
        os.close(content)
        return damage
    return OpenContent(content, size)


async def chunks(content: int, size: int, at: Location, history: History) -> AsyncIterator[bytes]:
    """Yield the octets of an open content, and raise ``StoreError`` if they have changed."""
    offset = crc32 = 0
    while True:
        # A small buffer: one of ``CHUNK`` octets would cost more than all else here.
        room = min(CHUNK, max(size - offset, _LEAST) + 1)
        try:
            chunk = os.pread(content, room, offset)
        except OSError as error:
            raise StoreError(f"read {at}", error) from error
        if not chunk:
            break
        offset, crc32 = offset + len(chunk), zlib.crc32(chunk, crc32)
        yield chunk
        if len(chunk) < room and offset >= size:
            break  # the end: another call would only confirm it
    expected = history.length, history.crc32
    if history.released or history.crc32 is None or expected == (offset, crc32):
        return
    raise StoreError(f"read {at}", "it has changed since accepted")
