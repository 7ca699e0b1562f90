"""One file of the log: laid out in advance, so that a sync of its data writes nothing else.

The first block has the segment's number, which orders the segments, and its mark. It is synced
before any batch is written. The writer of a batch holds a shared lock on the file until the
messages' own files show the batch. Removal needs the exclusive lock.
"""

import contextlib
import errno
import math
import os
import secrets
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from emailrelay.errors import StoreUnusable
from emailrelay.store.spool.disk import file_octets, files, locks
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.durable import records
from emailrelay.store.spool.durable.records import BLOCK, MARK_SIZE, Read

SIZE = 8 * 1024 * 1024
"""Octets of a segment."""
_HEAD = struct.Struct(">8sHQ16s")  # magic, version, number, mark
_MAGIC, _VERSION = b"EMRELLOG", 1
_SUFFIX = ".log"
_SPARE, _NEW = "spare", "new"
_ZEROS = bytes(1024 * 1024)
_TRIES, _MOMENT = 100, 0.01
"""Tries to share a segment's lock, and seconds between them."""


@dataclass(slots=True, eq=False)
class Segment:
    """An open segment. Threads may share it."""

    path: Location
    number: int
    mark: bytes
    descriptor: int
    _beside: int | None = None
    """The same file, opened once more."""
    _batches: int = 0
    _closing: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def share(self, *, wait: bool = False) -> None:
        """Keep it open and from being removed until ``unshare``; any number of times at once.

        ``wait``: a checkpoint of another process may have its lock for a moment, and is waited for.

        Raises:
            BlockingIOError: another process has its lock.

        """
        with self._guard:
            tries = _TRIES if wait else 1
            while not self._batches and not locks.share_lock(self.descriptor):
                tries -= 1
                if not tries:
                    why = "another process has the lock"
                    raise BlockingIOError(errno.EAGAIN, why, str(self.path))
                time.sleep(_MOMENT)
            self._batches += 1

    def unshare(self) -> None:
        """End one ``share``."""
        with self._guard:
            self._batches -= 1
            if self._batches:
                return
            locks.unlock(self.descriptor)
            if self._closing:
                self._close()

    def take(self) -> bool:
        """Lock it exclusively; False if a batch is not shown yet, or the file was removed."""
        if not locks.try_lock(self.descriptor):
            return False
        if self.is_linked():
            return True
        self.give_back()  # the file may be another segment by now
        return False

    def give_back(self) -> None:
        """End the lock of ``take``."""
        locks.unlock(self.descriptor)

    def is_linked(self) -> bool:
        """Tell if the file still has its name, by which the next first opener reads it."""
        return locks.is_named(self.descriptor, self.path)

    def write(self, octets: bytes, offset: int) -> None:
        """Write a batch."""
        file_octets.write_at(self.descriptor, octets, offset)

    def sync(self) -> None:
        """Put what was written on stable storage."""
        file_octets.sync_data(self.descriptor)

    def beside(self) -> int | None:
        """Return the file opened once more, for syncs beside ``sync``; None if it has no name.

        The kernel reports a lost write once to each open file, so both kinds of sync get it.

        Raises:
            OSError: it cannot be opened.

        """
        if self._beside is None:
            opened = files.open_to_write(self.path)
            if opened is not None and not locks.is_named(self.descriptor, self.path):
                os.close(opened)
                return None
            self._beside = opened
        return self._beside

    def read(self) -> Iterator[Read]:
        """Yield all records of whole batches, in order.

        Between them there may be torn batches, of a process whose sync had not ended.
        """
        at, end = BLOCK, os.fstat(self.descriptor).st_size
        while at < end:
            length = records.length_of_batch(self.mark, os.pread(self.descriptor, BLOCK, at))
            found = None
            if length is not None and at + records.room(length) <= end:
                octets = os.pread(self.descriptor, records.room(length), at)
                found = records.read_batch(octets, at)
            if length is None or found is None:
                at += BLOCK
                continue
            yield from found
            at += records.room(length)

    def close(self) -> None:
        """Close the file, once no batch needs it any more."""
        with self._guard:
            self._closing = True
            if not self._batches:
                self._close()

    def _close(self) -> None:
        os.close(self.descriptor)
        if self._beside is not None:
            os.close(self._beside)


def _path(directory: Directory, number: int) -> Location:
    return directory / f"{number:012d}{_SUFFIX}"


def numbers(directory: Directory) -> list[int]:
    """Return the numbers of the present segments, in order."""
    names = (
        name.removesuffix(_SUFFIX) for name in files.listed(directory) if name.endswith(_SUFFIX)
    )
    return sorted(int(name) for name in names if name.isascii() and name.isdigit())


def create(directory: Directory, number: int) -> Segment:
    """Lay out a new segment, in the file of a removed one if there is one, and sync all of it.

    Raises:
        OSError: there is no room, or the disk refuses; nothing of it is left.

    """
    new, path = directory / _NEW, _path(directory, number)
    with contextlib.suppress(FileNotFoundError):
        files.rename(directory / _SPARE, new)
    descriptor = _open_unlocked(new)
    try:
        if descriptor is None:
            descriptor = _lay_out(new)
        mark = secrets.token_bytes(MARK_SIZE)
        segment = Segment(path, number, mark, descriptor)
        segment.write(_HEAD.pack(_MAGIC, _VERSION, number, mark).ljust(BLOCK, b"\0"), 0)
        os.fsync(descriptor)
        files.rename(new, path)
        files.sync_directory(directory)
    except OSError:
        files.remove(new)
        files.remove(path)
        if descriptor is not None:
            os.close(descriptor)
        raise
    return segment


def _open_unlocked(path: Location) -> int | None:
    """Open a removed segment's file; one that its remover still has locked is given up."""
    descriptor = files.open_to_write(path)
    if descriptor is None:
        return None
    if locks.is_locked(descriptor):
        os.close(descriptor)
        files.remove(path)
        return None
    return descriptor


def _lay_out(path: Location) -> int:
    descriptor = files.create(path)
    try:
        for offset in range(0, SIZE, len(_ZEROS)):
            file_octets.write_at(descriptor, _ZEROS[: SIZE - offset], offset)
    except OSError:
        os.close(descriptor)
        files.remove(path)
        raise
    return descriptor


def reserve(directory: Directory) -> None:
    """Lay out the next segment's file, so that a full disk does not stop mail from leaving.

    Raises:
        OSError: there is no room, or the disk refuses; nothing of it is left.

    """
    spare, new = directory / _SPARE, directory / _NEW
    if not files.is_there(spare):
        files.remove(new)
        os.close(_lay_out(new))
        files.rename(new, spare)


def open_segment(directory: Directory, number: int) -> Segment | None:
    """Open a segment; None if it was removed, or its creation was not completed.

    Raises:
        StoreUnusable: another version of this program has written it.
        OSError: it cannot be read.

    """
    path = _path(directory, number)
    descriptor = files.open_to_write(path)
    if descriptor is None:
        return None
    head = os.pread(descriptor, _HEAD.size, 0)
    if len(head) == _HEAD.size:
        magic, version, its_number, mark = _HEAD.unpack(head)
        if magic == _MAGIC and version != _VERSION:
            os.close(descriptor)
            raise StoreUnusable(
                f"{path} is of version {version}: open the spool with the program that wrote it"
            )
        if (magic, its_number) == (_MAGIC, number):
            return Segment(path, number, mark, descriptor)
    os.close(descriptor)
    return None


def open_all(directory: Directory, opened: ExitStack, *, before: float = math.inf) -> list[Segment]:
    """Open all segments with a number below ``before``, in order; ``opened`` closes them.

    Raises:
        StoreUnusable, OSError: see ``open_segment``.

    """
    segments: list[Segment] = []
    for number in numbers(directory):
        found = open_segment(directory, number) if number < before else None
        if found is not None:
            opened.callback(found.close)
            segments.append(found)
    return segments


def remove(directory: Directory, number: int, taken: Segment | None = None) -> None:
    """Remove a segment durably; its file is kept for the next one, of any process.

    ``taken``: the open segment, whose lock of ``take`` ends.
    """
    files.rename(_path(directory, number), directory / _SPARE)
    if taken is not None:
        taken.give_back()  # before the sync: ``create`` throws a file away that is locked
    # Each by itself: an earlier segment must not restore a message that a later one records as
    # gone.
    files.sync_directory(directory)


def use_spare(directory: Directory, to: Location) -> None:
    """Give the file that is kept for the next segment another name.

    Raises:
        FileNotFoundError: there is none.

    """
    files.rename(directory / _SPARE, to)


def remove_spare(directory: Directory) -> None:
    """Remove the file that is kept for the next segment."""
    files.remove(directory / _SPARE)
