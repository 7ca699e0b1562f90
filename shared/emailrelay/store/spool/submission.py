"""A message that a user with write access puts into the spool, without opening a store."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable

from emailrelay import message_id
from emailrelay.acceptance import Accepted
from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable.draft_files import DraftFiles
from emailrelay.store.spool.marks import entrance
from emailrelay.store.spool.wake.hint_sender import HintSender
from emailrelay.store.submission import Submission, SubmissionForbidden, SubmissionRefused


class SpoolSubmission(Submission):
    """See ``Submission``."""

    def __init__(self, root: str, next_id: Callable[[], QueueId]) -> None:
        """Begin a message.

        Raises:
            SubmissionRefused: there is no such spool.
            SubmissionForbidden: this user has no write access to it.
            OSError: the disk is full or fails.

        """
        self._eight_bit, self._beginning = False, b""
        self._spool = Directory(root, makes=False)
        try:
            self._pair = DraftFiles(self._spool.below(names.DRAFTS), next_id)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SubmissionRefused(f"{root} is not a spool directory") from error
        except PermissionError as error:
            raise SubmissionForbidden(f"you have no write access to {root}") from error
        self.id = self._pair.id
        self.path = str(self._spool / names.content(self.id))

    def write(self, pieces: Iterable[bytes]) -> None:
        """See ``Submission.write``."""
        for piece in pieces:
            self._eight_bit = self._eight_bit or not piece.isascii()
            if len(self._beginning) < message_id.BEGINNING:
                self._beginning += piece
            self._pair.write(piece)

    def commit(self, sender: Address, recipients: tuple[Address, ...], dsn: DsnRequest) -> None:
        """See ``Submission.commit``. The message belongs to the spool's group from here."""
        envelope = Envelope(
            sender=sender,
            to_remote=recipients,
            body=Body.EIGHT_BIT if self._eight_bit else Body.SEVEN_BIT,
            utf8=not all(address.isascii() for address in (sender, *recipients)),
            message_id=message_id.of_content(self._beginning),
        )
        stage = entrance.get(self._spool)
        pair = self._pair
        accepted = Accepted(
            at=time.time(), stage=stage, length=pair.length, crc32=pair.crc32, dsn=dsn
        )
        self._hand_over()
        pair.seal(envelope, accepted)
        pair.sync()
        pair.show(self._spool, stage)
        pair.close()
        hints = HintSender(self._spool.below(names.WAKE, makes=False))
        hints.send(stage, self.id)
        hints.close()

    def _hand_over(self) -> None:
        """Change the files' group to the spool's group if the directory did not set it."""
        group = os.fstat(self._spool.fileno()).st_gid
        for descriptor in (self._pair.envelope, self._pair.content):
            if os.fstat(descriptor).st_gid != group:
                os.fchown(descriptor, -1, group)

    def discard(self) -> None:
        """See ``Submission.discard``."""
        with contextlib.suppress(OSError):  # recovery removes the rest
            self._pair.remove()
        self._pair.close()
