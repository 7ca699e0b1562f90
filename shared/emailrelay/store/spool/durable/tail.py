"""The end of the log: a small file that all writing processes share, and lock in turns.

It is never synced. After a power cut the first opener reads the segments and makes a new one.
"""

import errno
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from emailrelay.store.spool.disk import file_octets, files, locks
from emailrelay.store.spool.disk.directory import Location

_PLACE = struct.Struct(">QQd")


class LogPosition(NamedTuple):
    """The current segment, the offset of its next batch, and the time of its first one."""

    number: int
    offset: int
    since: float
    """Seconds since 1970; 0: it is empty."""


class Tail:
    """The open file."""

    def __init__(self, path: Location) -> None:
        """Open or make the file.

        Raises:
            OSError: it cannot be made.

        """
        self._path = path
        self._descriptor = files.open_or_create(path)

    @contextmanager
    def locked(self, *, wait: bool = True) -> Generator[LogPosition | None]:
        """Exclude all other writers; yield the position, or None in a new log.

        Raises:
            BlockingIOError: another process writes, and ``wait`` is false.

        """
        if wait:
            locks.lock(self._descriptor)
        elif not locks.try_lock(self._descriptor):
            raise BlockingIOError(errno.EAGAIN, "another process writes to the log")
        try:
            octets = os.pread(self._descriptor, _PLACE.size, 0)
            yield LogPosition(*_PLACE.unpack(octets)) if len(octets) == _PLACE.size else None
        finally:
            locks.unlock(self._descriptor)

    def put(self, place: LogPosition) -> None:
        """Store a new position; the caller holds the lock."""
        file_octets.write_at(self._descriptor, _PLACE.pack(*place), 0)

    def is_linked(self) -> bool:
        """Tell if the file still has its name, by which other processes open it."""
        return locks.is_named(self._descriptor, self._path)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
