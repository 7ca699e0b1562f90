"""Writes a message into the spool, for users with write access."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable

from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.marks import entrance
from emailrelay.store.spool.message.pair import Pair
from emailrelay.store.spool.wake.bell import Bell


def new_ids() -> QueueIds:
    """Return the ids of this process, as random as with ``secrets``, whose import is slow."""
    return QueueIds(int.from_bytes(os.urandom(8)) % (1 << PROCESS_BITS))


class NoEntry(Exception):
    """The user has no write access to the spool, or there is none; the text says which."""


class SpoolEntry:
    """A message on its way into the spool."""

    def __init__(self, root: str, clock: Callable[[], float] = time.time) -> None:
        """Begin a message.

        Raises:
            NoEntry: there is no such spool, or this user has no write access to it.
            OSError: the disk is full or fails.

        """
        self._clock = clock
        self._eight_bit = False
        self._spool = Directory(root, makes=False)
        ids = new_ids()
        try:
            self._pair = Pair(self._spool.below(names.DRAFTS), lambda: ids.next(clock()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoEntry(f"{root} is not a spool directory") from error
        except PermissionError as error:
            raise NoEntry(f"you have no write access to {root}") from error

    @property
    def id(self) -> QueueId:
        """Return the message's id."""
        return self._pair.id

    @property
    def path(self) -> str:
        """Return the path of the content after the commit."""
        return str(self._spool / names.content(self.id))

    def write(self, pieces: Iterable[bytes]) -> None:
        """Write the content."""
        for piece in pieces:
            self._eight_bit = self._eight_bit or not piece.isascii()
            self._pair.write(piece)

    def commit(self, sender: Address, recipients: tuple[Address, ...]) -> None:
        """Make the message durable and visible; it belongs to the spool's group from here."""
        envelope = Envelope(
            sender=sender,
            to_remote=recipients,
            body=Body.EIGHT_BIT if self._eight_bit else Body.SEVEN_BIT,
            utf8=not all(address.isascii() for address in (sender, *recipients)),
        )
        stage = entrance.get(self._spool)
        pair = self._pair
        accepted = Accepted(at=self._clock(), stage=stage, length=pair.length, crc32=pair.crc32)
        self._hand_over()
        pair.seal(envelope, accepted)
        pair.sync()
        pair.show(self._spool, stage)
        pair.close()
        bell = Bell(self._spool.below(names.WAKE, makes=False))
        bell.ring(stage, self.id)
        bell.close()

    def _hand_over(self) -> None:
        """Change the files' group to the spool's group if the directory did not set it."""
        group = os.fstat(self._spool.fileno()).st_gid
        for descriptor in (self._pair.envelope, self._pair.content):
            if os.fstat(descriptor).st_gid != group:
                os.fchown(descriptor, -1, group)

    def discard(self) -> None:
        """Remove the files of a message that was not committed."""
        with contextlib.suppress(OSError):  # recovery removes what we cannot
            self._pair.remove()
        self._pair.close()
