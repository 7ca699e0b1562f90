"""Token files in the spool directory: complete or absent, readable by their owner only.

Each account has two files under ``.tokens``: the tokens, and an empty lock file. The holder of the
lock is the only process that renews. The lock file is never removed, so that its name always means
the same inode.
"""

import contextlib
import os
from collections.abc import Generator
from dataclasses import dataclass

from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory

DIRECTORY = ".tokens"

_ROOM = 128 * 1024
"""Octets reserved before a token request: a full disk must not lose a refresh token."""


class Reserved:
    """Disk space reserved for one write."""

    __slots__ = ("_descriptor", "_directory", "_scratch", "_target")

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._scratch = directory / f"{name}.new"
        self._target = directory / f"{name}.json"
        # The holder of the lock is the only writer, so a file of a killed process is overwritten.
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY
        self._descriptor = files.opened(self._scratch, flags, 0o600)
        try:
            os.posix_fallocate(self._descriptor, 0, _ROOM)
        except BaseException:
            self.close()
            raise

    def commit(self, octets: bytes) -> None:
        """Replace the old tokens by new ones, durably.

        Raises:
            OSError: the write failed; the old tokens stay.

        """
        files.write_all(self._descriptor, octets)
        os.ftruncate(self._descriptor, len(octets))
        os.fsync(self._descriptor)
        files.rename(self._scratch, self._target)
        files.sync_directory(self._directory)

    def close(self) -> None:
        """Release the space."""
        os.close(self._descriptor)
        files.remove(self._scratch)


@dataclass(frozen=True, slots=True)
class TokenFiles:
    """The tokens in one spool directory, by account name."""

    root: str

    def read(self, name: str) -> bytes | None:
        """Return the stored octets, or None.

        Raises:
            OSError: the file cannot be read, for example because of its permissions.

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
        """Try to hold the lock within the block; yield True if this process has it.

        The lock ends with the process at the latest.

        Raises:
            OSError: the lock file cannot be opened.

        """
        at = self._directory() / f"{name}.lock"
        descriptor = files.opened(at, os.O_CREAT | os.O_RDONLY, 0o600)
        locked = False
        try:
            locked = files.try_lock(descriptor)
            yield locked
        finally:
            if locked:
                files.unlock_and_close(descriptor)
            else:
                os.close(descriptor)

    @contextlib.contextmanager
    def reserve(self, name: str) -> Generator[Reserved, None, None]:
        """Reserve disk space for a write; only for the holder of the lock.

        Raises:
            OSError: there is no space, or the file cannot be opened.

        """
        room = Reserved(self._directory(), name)
        try:
            yield room
        finally:
            room.close()

    def _directory(self, *, makes: bool = True) -> Directory:
        """Open the directory, which must be accessible to this user only."""
        root = Directory(self.root, makes=makes)
        missing = makes and not files.is_there(root / DIRECTORY)
        directory = root.below(DIRECTORY, makes=makes, private=True)
        if missing:
            directory.renew()
            files.sync_directory(root)
        return directory
