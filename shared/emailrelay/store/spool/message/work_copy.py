"""A private copy of a message that programs may change; the message itself stays whole."""

import os
from dataclasses import dataclass
from pathlib import Path

from emailrelay.errors import StoreError
from emailrelay.stage import Stage
from emailrelay.store.base import WorkCopy
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import PRIVATE, Directory, Location
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.message.moves import Locked

_LONG_AGO = (0, 0)
"""Times of a fresh copy: an edit within the same tick of the kernel's clock still shows."""
_SMALL = 256 * 1024
"""Octets that are copied within the page cache at once."""


@dataclass(slots=True)
class SpoolCopy:
    """A private copy in a directory of its own, and the state of its files when it was made."""

    at: Location
    directory: Directory
    files: WorkCopy
    original: dict[Location, object]
    """The state of each file when it was made."""
    has_others: bool = True
    """False if programs were seen to have put nothing beside the two files."""

    def changed(self) -> bool:
        """Tell if a program has touched either file. A change time cannot be set back."""
        return any(_looks(path) != looked for path, looked in self.original.items())

    def removed(self) -> bool:
        """Remove a copy that is not needed any more; False if programs have added files."""
        try:
            for path in self.original:
                files.remove(path)
            files.remove_directory(self.at)
        except OSError:
            return False
        self.directory.close()
        return True

    def discard(self) -> None:
        """Remove the copy and all in it; an adopted one has another name."""
        if not self.removed():
            self.directory.close()
            files.remove_tree(self.at)

    @property
    def content(self) -> Location:
        """Return the location of the content."""
        return self.directory / self.files.content.name

    @property
    def envelope(self) -> Location:
        """Return the location of the envelope."""
        return self.directory / self.files.envelope.name


def _looks(path: Location) -> object:
    try:
        return _signature(files.status_of(path))
    except OSError:  # gone, or out of reach: reading it raises the reason
        return None


def _signature(status: os.stat_result) -> object:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


async def copied(locked: Locked, content: int, suffix: str, *, size: int) -> SpoolCopy:
    """Make a copy; in a thread if the content is large. A thread costs as much as a small copy."""
    if size <= _SMALL:
        return make_copy(locked, content, suffix)
    return await in_thread(make_copy, locked, content, suffix)


def make_copy(locked: Locked, content: int, suffix: str) -> SpoolCopy:
    """Copy an open content and its locked envelope, for this user alone."""
    at = locked.spool.directories.work / names.running_copy(locked.id)
    try:
        files.make_directory(at, PRIVATE)
    except FileExistsError:
        files.remove_tree(at)
        files.make_directory(at, PRIVATE)
    directory = at.directory.below(at.name, makes=False, private=True)
    for_content = directory / names.content(locked.id)
    for_envelope = directory / f"{names.envelope(locked.id, Stage.READY)}.{suffix}"
    try:
        original = {
            for_content: _copied(content, for_content),
            for_envelope: _copied(locked.descriptor, for_envelope),
        }
    except OSError:
        directory.close()
        files.remove_tree(at)
        raise
    paths = WorkCopy(Path(str(for_content)), Path(str(for_envelope)))
    return SpoolCopy(at, directory, paths, original)


def _copied(source: int, path: Location) -> object:
    """Copy an open file; return the state of the copy."""
    descriptor = files.copy(source, path)
    try:
        os.utime(descriptor, _LONG_AGO)
        return _signature(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def open_left(path: Location) -> int:
    """Open a file that programs have left in a copy.

    Raises:
        StoreError: there is no regular file.

    """
    descriptor = files.open_regular(path, alone=False)
    if descriptor is None:
        raise StoreError(f"adopt {path}", "the filters left no regular file")
    return descriptor


def read_left(path: Location) -> bytes:
    """Read an envelope file that programs have left in a copy; raises as ``open_left``."""
    descriptor = open_left(path)
    try:
        return files.read_all(descriptor)
    finally:
        os.close(descriptor)
