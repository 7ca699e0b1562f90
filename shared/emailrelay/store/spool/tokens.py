"""Files of tokens beside the mail: whole or absent, readable only by their owner.

One process at a time renews them.

Each name has two files under ``.tokens``: the tokens, and an empty one whose lock is the right to
renew them. The lock's file is never removed, so its name and its inode always agree.
"""

import contextlib
import os
from collections.abc import AsyncGenerator

from emailrelay.errors import as_store_error
from emailrelay.store.spool.disk import file_octets, files, locks, regular_files
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.tokens import TokenStore, TokenTurn

DIRECTORY = ".tokens"

_ROOM = 128 * 1024
"""Octets reserved before a token request: a full disk must not cost a token that works once."""


class Reserved:
    """Room on the disk for one write, to be used or left."""

    __slots__ = ("_descriptor", "_directory", "_scratch", "_target")

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory = directory
        self._scratch = directory / f"{name}.new"
        self._target = directory / f"{name}.json"
        # The holder of the lock is the only writer; what a killed one left is begun again.
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
            OSError: the disk refuses; the old ones remain.

        """
        file_octets.write_all(self._descriptor, octets)
        os.ftruncate(self._descriptor, len(octets))
        os.fsync(self._descriptor)
        files.rename(self._scratch, self._target)
        files.sync_directory(self._directory)

    def close(self) -> None:
        """Give the room back."""
        os.close(self._descriptor)
        files.remove(self._scratch)


class SpoolTokenTurn(TokenTurn):
    """See ``TokenTurn``."""

    def __init__(self, directory: Directory, name: str) -> None:
        self._directory, self._name = directory, name
        self._room: Reserved | None = None

    async def reserve(self) -> None:
        """See ``TokenTurn.reserve``."""
        with as_store_error("the tokens cannot be stored"):
            self._take_room()

    def _take_room(self) -> Reserved:
        if self._room is None:
            self._room = Reserved(self._directory, self._name)
        return self._room

    async def keep(self, octets: bytes) -> None:
        """See ``TokenTurn.keep``."""
        with as_store_error("the tokens cannot be stored"):
            try:
                await in_thread(self._take_room().commit, octets)
            finally:
                self.close()

    def close(self) -> None:
        """Give back room that was not used."""
        room, self._room = self._room, None
        if room is not None:
            room.close()


class SpoolTokens(TokenStore):
    """See ``TokenStore``. Names are those of accounts."""

    def __init__(self, root: str) -> None:
        """Use the spool directory ``root``; nothing is touched yet."""
        self._root = root

    async def read(self, account: str) -> bytes | None:
        """See ``TokenStore.read``."""
        with as_store_error("the tokens cannot be read"):
            try:
                return regular_files.read(self._directory(makes=False) / f"{account}.json")
            except FileNotFoundError:
                return None

    @contextlib.asynccontextmanager
    async def turn(self, account: str) -> AsyncGenerator[SpoolTokenTurn | None]:
        """See ``TokenStore.turn``."""
        with as_store_error("the tokens cannot be stored"):
            directory = self._directory()
            descriptor = files.opened(
                directory / f"{account}.lock", os.O_CREAT | os.O_RDONLY, 0o600
            )
            locked = locks.try_lock(descriptor)
        turn = SpoolTokenTurn(directory, account)
        try:
            yield turn if locked else None
        finally:
            turn.close()
            if locked:
                locks.unlock_and_close(descriptor)
            else:
                os.close(descriptor)

    def _directory(self, *, makes: bool = True) -> Directory:
        """Give the directory, for this user alone; anything else in its place is refused."""
        root = Directory(self._root, makes=makes)
        missing = makes and not files.is_there(root / DIRECTORY)
        directory = root.below(DIRECTORY, makes=makes, private=True)
        if missing:
            directory.renew()
            files.sync_directory(root)
        return directory
