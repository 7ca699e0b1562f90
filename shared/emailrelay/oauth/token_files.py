"""Files of tokens beside the mail: whole or absent, for their owner alone, renewed by one at a time.

Each name has two files under ``.tokens``: the tokens, and an empty one whose lock is the right to
renew them. The lock's file is never removed, so its name and its inode always agree.
"""

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass

from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.disk.directory import Directory

DIRECTORY = ".tokens"

_ROOM = 128 * 1024
"""Octets put by before a token is asked for: a full disk must not cost one that cannot be asked twice."""


class Reserved:
    """Room on the disk for one write, to be used or left."""

    __slots__ = ("_descriptor", "_directory", "_scratch", "_target")

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._scratch = directory / f"{name}.new"
        self._target = directory / f"{name}.json"
        # The holder of the lock is the only writer; what a killed one left is begun anew.
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        self._descriptor = files.opened(self._scratch, flags, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, _ROOM)
        except BaseException:
            self.close()
            raise

    def commit(self, octets: bytes) -> None:
        """Put new tokens in place of the old ones, durably.

        Raises:
            OSError: the disk refuses; the old ones stand.

        """
        files.write_all(self._descriptor, octets)
        os.ftruncate(self._descriptor, len(octets))
        os.fsync(self._descriptor)
        files.rename(self._scratch, self._target)
        files.sync_directory(self._directory)

    def close(self) -> None:
        """Give the room back."""
        os.close(self._descriptor)
        files.remove(self._scratch)


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """The tokens kept in one spool directory. Names are those of accounts."""

    root: str

    def read(self, name: str) -> bytes | None:
        """Give what is kept, or None.

        Raises:
            OSError: it cannot be read, by its owner's wish for example.

        """
        try:
            descriptor = files.open_regular(self._directory(makes=False) / f"{name}.json")
        except FileNotFoundError:
            return None
        if descriptor is None:
            return None
        try:
            return files.read_all(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def try_lock(self, name: str) -> Generator[bool, None, None]:
        """Hold the right to renew, if nobody has it; it ends with the process at the latest.

        Raises:
            OSError: the directory refuses.

        """
        at = self._directory() / f"{name}.lock"
        descriptor = files.opened(at, os.O_CREAT | os.O_RDONLY, 0o600)
        locked = False
        try:
            locked = locks.try_lock(descriptor)
            yield locked
        finally:
            if locked:
                locks.unlock_and_close(descriptor)
            else:
                os.close(descriptor)

    @contextlib.contextmanager
    def reserve(self, name: str) -> Generator[Reserved, None, None]:
        """Make sure that a write will find room; for the holder of the lock.

        Raises:
            OSError: there is no room, or the directory refuses.

        """
        room = Reserved(self._directory(), name)
        try:
            yield room
        finally:
            room.close()

    def _directory(self, *, makes: bool = True) -> Directory:
        """Give the directory, for this user alone; anything else in its place is refused."""
        root = Directory(self.root, makes=makes)
        missing = makes and not files.is_there(root / DIRECTORY)
        directory = root.below(DIRECTORY, makes=makes, private=True)
        if missing:
            directory.renew()
            files.sync_directory(root)
        return directory
