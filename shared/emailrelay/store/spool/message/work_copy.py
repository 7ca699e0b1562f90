"""A private copy of a message that programs may change; the message itself stays whole."""

import os
from dataclasses import dataclass
from typing import NamedTuple

from emailrelay.errors import StoreError
from emailrelay.stage import Stage
from emailrelay.store.claim import WorkCopy
from emailrelay.store.spool.disk import file_octets, files, names, regular_files
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
    content: Location
    envelope: Location
    original: tuple[object, object]
    """The states of the content and of the envelope when they were made."""
    has_others: bool = True
    """False if programs were seen to have put nothing beside the two files."""

    @property
    def files(self) -> WorkCopy:
        """The paths for programs."""
        return WorkCopy(str(self.content), str(self.envelope))

    def changed(self) -> bool:
        """Tell if a program has touched either file. A change time cannot be set back."""
        content, envelope = self.original
        return _looks(self.content) != content or _looks(self.envelope) != envelope

    def removed(self) -> bool:
        """Remove a copy that is not needed any more; False if programs have added files."""
        try:
            files.take_away(self.content)
            files.take_away(self.envelope)
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


def _looks(path: Location) -> object:
    try:
        return _signature(files.status_of(path))
    except OSError:  # gone, or out of reach: reading it raises the reason
        return None


def _signature(status: os.stat_result) -> object:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode


class CopySource(NamedTuple):
    """The open files of a message, and how much of them is to be copied."""

    content: int
    size: int
    """Octets of the content."""
    octets: bytes | None
    """The content, if it has been read."""
    envelope_size: int
    """Octets of the envelope that its claim has read; an operator may append to it meanwhile."""


async def copied(locked: Locked, source: CopySource, suffix: str) -> SpoolCopy:
    """Make a copy; in a thread if the content is large. A thread costs as much as a small copy."""
    if source.size <= _SMALL:
        return make_copy(locked, source, suffix)
    return await in_thread(make_copy, locked, source, suffix)


def make_private(locked: Locked) -> tuple[Location, Directory]:
    """Make the directory for a message's new files, for this user alone. W."""
    spool = locked.spool
    at = spool.directories.work / names.running_copy(locked.id, spool.ids.process)
    try:
        files.make_directory(at, PRIVATE)
    except FileExistsError:
        files.remove_tree(at)
        files.make_directory(at, PRIVATE)
    return at, at.directory.below(at.name, makes=False, private=True)


def make_copy(locked: Locked, source: CopySource, suffix: str) -> SpoolCopy:
    """Copy an open content and its locked envelope, for this user alone."""
    at, directory = make_private(locked)
    content = directory / names.content(locked.id)
    envelope = directory / f"{names.envelope(locked.id, Stage.READY)}.{suffix}"
    try:
        if source.octets is None:
            copy = files.copy(source.content, content, source.size)
        else:
            copy = files.create_private(content, source.octets)
        of_content = _aged(copy)
        of_envelope = _aged(files.copy(locked.descriptor, envelope, source.envelope_size))
    except OSError:
        directory.close()
        files.remove_tree(at)
        raise
    return SpoolCopy(at, directory, content, envelope, (of_content, of_envelope))


def _aged(descriptor: int) -> object:
    """Close a new file whose times are set to long ago; return its state."""
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
    descriptor = regular_files.open_regular(path, alone=False)
    if descriptor is None:
        raise StoreError(f"adopt {path}", "the filters left no regular file")
    return descriptor


def read_left(path: Location) -> bytes:
    """Read an envelope file that programs have left in a copy; raises as ``open_left``."""
    descriptor = open_left(path)
    try:
        return file_octets.read_all(descriptor)
    finally:
        os.close(descriptor)
