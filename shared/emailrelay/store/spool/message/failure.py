"""The right to tell the sender of a failed message: the lock on its envelope."""

import contextlib
import os
from collections.abc import Callable, Generator

from emailrelay import envelope_format, journal
from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.failure import FailedMessage, PreparedNotice
from emailrelay.store.spool.disk import files, locks
from emailrelay.store.spool.message import moves, notice, rewriting
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.notice import Notice, NoticeKind
from emailrelay.store.spool.message.spool import Spool

_NOTIFIED = b"X-MailRelay-Notified:"


def take_failure(spool: Spool, message: QueueId) -> "SpoolFailure | None":
    """Lock a failed message; see ``Store.failure``."""
    with _doing(f"read the failed message {message}"):
        descriptor = locks.lock_named(spool.envelope(message, Stage.FAILED))
        if descriptor is None:
            return None
        locked = Locked(spool, message, Stage.FAILED, descriptor)
        try:
            rewriting.shorten_if_long(locked)
            return SpoolFailure(locked)
        except BaseException:
            locked.release()
            raise


class SpoolFailure(FailedMessage):
    """See ``FailedMessage``. The notice lies under ``.dsn/`` from ``prepare`` until it has left."""

    def __init__(self, locked: Locked) -> None:
        """Take over the lock, and read the envelope."""
        self.id = locked.id
        self._locked, self._spool = locked, locked.spool
        self.envelope, self.history = _read(files.read_ends(locked.descriptor))
        self._open = True

    async def beginning(self, most: int) -> bytes:
        """See ``FailedMessage.beginning``."""
        with _doing(f"read {self._spool.content(self.id)}"):
            descriptor = files.open_regular(self._spool.content(self.id))
            if descriptor is None:
                return b""
            try:
                return os.pread(descriptor, most, 0)
            finally:
                os.close(descriptor)

    async def record(self) -> None:
        """See ``FailedMessage.record``."""
        with _doing(f"note that the sender of {self.id} is told"):
            self._discard_unrecorded()
            notice.record(self._locked)

    def _discard_unrecorded(self) -> None:
        unrecorded = notice.lying(self._spool, self.id)
        if unrecorded is not None:
            unrecorded.discard()

    async def prepare(self, text: Callable[[QueueId], bytes], *, local: bool) -> PreparedNotice:
        """See ``FailedMessage.prepare``."""
        if self.envelope is None:
            raise ValueError(f"{self.id}: the sender is unknown")
        drafted = Notice(self._spool, self.id, NoticeKind.LOCAL if local else NoticeKind.RELAY)
        with _doing(f"write a notice about {self.id}"):
            self._discard_unrecorded()
            prepared = drafted.draft(self.envelope.sender, text)
            notice.record(self._locked)
        return prepared

    async def prepared(self) -> PreparedNotice | None:
        """See ``FailedMessage.prepared``."""
        with _doing(f"read a notice about {self.id}"):
            left = notice.lying(self._spool, self.id)
            if left is None or not moves.history_of(self._locked).notified:
                return None
            message = left.id()
            if message is None:  # it has left, but its directory has not
                left.discard()
                return None
            return PreparedNotice(message, left.text(message))

    async def relay(self) -> None:
        """See ``FailedMessage.relay``."""
        with _doing(f"send a notice about {self.id}"):
            left = notice.lying(self._spool, self.id)
            if left is not None:
                left.move_on()

    async def delivered(self) -> None:
        """See ``FailedMessage.delivered``."""
        with _doing(f"remove a notice about {self.id}"):
            left = notice.lying(self._spool, self.id)
            if left is not None:
                left.discard()

    async def release(self) -> None:
        """See ``FailedMessage.release``."""
        if not self._open:
            return
        self._open = False
        try:
            with _doing(f"carry out the wish for {self.id}"):
                wish = moves.history_of(self._locked).wish
                if wish is not None:
                    moves.grant(self._locked, wish)
        finally:
            self._locked.release()


def _read(octets: bytes) -> tuple[Envelope | None, History]:
    """Read an envelope file; of a damaged one, all that can be told from the rest."""
    try:
        file = envelope_format.parse(octets)
    except DamagedMessage:
        envelope, history = envelope_format.salvage(octets), journal.history(octets)
        if envelope is None and _NOTIFIED in octets:
            history = history._replace(notified=True)
        return envelope, history
    return file.envelope, journal.history(file.tail)


@contextlib.contextmanager
def _doing(doing: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(doing, error) from error
