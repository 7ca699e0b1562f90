"""A message that a member of the spool's group writes into the spool, without opening a store."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable

from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.marks import entrance
from emailrelay.store.spool.message.pair import Pair
from emailrelay.store.spool.wake.bell import Bell
from emailrelay.store.submission import Submission, SubmissionRefused


class SpoolSubmission(Submission):
    """See ``Submission``."""

    def __init__(
        self, root: str, next_id: Callable[[], QueueId], clock: Callable[[], float] = time.time
    ) -> None:
        """Begin a message.

        Raises:
            SubmissionRefused: there is no such spool, or this user may not write into it.
            OSError: the disk refuses.

        """
        self._clock = clock
        self._eight_bit = False
        self._spool = Directory(root, makes=False)
        try:
            self._pair = Pair(self._spool.below(names.DRAFTS), next_id)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SubmissionRefused(f"{root} is no spool directory") from error
        except PermissionError as error:
            raise SubmissionRefused(f"you may not write into {root}") from error
        self.id = self._pair.id
        self.path = str(self._spool / names.content(self.id))

    def write(self, pieces: Iterable[bytes]) -> None:
        """See ``Submission.write``."""
        for piece in pieces:
            self._eight_bit = self._eight_bit or not piece.isascii()
            self._pair.write(piece)

    def commit(self, sender: Address, recipients: tuple[Address, ...]) -> None:
        """See ``Submission.commit``. The message belongs to the spool's group from here."""
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
        """Give the files to the spool's group unless the directory does so by itself."""
        group = os.fstat(self._spool.fileno()).st_gid
        for descriptor in (self._pair.envelope, self._pair.content):
            if os.fstat(descriptor).st_gid != group:
                os.fchown(descriptor, -1, group)

    def discard(self) -> None:
        """See ``Submission.discard``."""
        with contextlib.suppress(OSError):  # recovery removes the rest
            self._pair.remove()
        self._pair.close()
