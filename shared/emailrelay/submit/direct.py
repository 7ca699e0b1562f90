"""Straight into the spool, for members of its group."""

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
from emailrelay.store.spool.message.draft_files import DraftFiles
from emailrelay.store.spool.wake.hint_sender import HintSender


def new_ids() -> QueueIds:
    """Give the ids of this process, drawn as ``secrets`` does, whose import would take longer than all else."""
    return QueueIds(int.from_bytes(os.urandom(8)) % (1 << PROCESS_BITS))


class NoEntry(Exception):
    """The user may not write into this spool, or there is none; the text says which."""


class SpoolEntry:
    """A message on its way into the spool."""

    def __init__(self, root: str, clock: Callable[[], float] = time.time) -> None:
        """Begin a message.

        Raises:
            NoEntry: there is no such spool, or this user may not write into it.
            OSError: the disk refuses.

        """
        self._clock = clock
        self._eight_bit = False
        self._spool = Directory(root, makes=False)
        ids = new_ids()
        try:
            self._pair = DraftFiles(self._spool.below(names.DRAFTS), lambda: ids.next(clock()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoEntry(f"{root} is no spool directory") from error
        except PermissionError as error:
            raise NoEntry(f"you may not write into {root}") from error

    @property
    def id(self) -> QueueId:
        """Give the message's id."""
        return self._pair.id

    @property
    def path(self) -> str:
        """Give where the content is once it is committed."""
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
        hints = HintSender(self._spool.below(names.WAKE, makes=False))
        hints.send(stage, self.id)
        hints.close()

    def _hand_over(self) -> None:
        """Give the files to the spool's group where the directory does not do so by itself."""
        group = os.fstat(self._spool.fileno()).st_gid
        for descriptor in (self._pair.envelope, self._pair.content):
            if os.fstat(descriptor).st_gid != group:
                os.fchown(descriptor, -1, group)

    def discard(self) -> None:
        """Leave nothing."""
        with contextlib.suppress(OSError):  # recovery removes what we cannot
            self._pair.remove()
        self._pair.close()
