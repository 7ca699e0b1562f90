"""The right to notify the sender of a failed message: the lock on its envelope."""

import os
from collections.abc import Callable, Sequence

from emailrelay import envelope_format, journal_format
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import DamagedMessage, StoreError, as_store_error
from emailrelay.journal import History, Notified
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.failure import FailedMessage, PreparedNotice, notice_depth
from emailrelay.store.spool.disk import file_octets, regular_files
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.message import moves, notice, rewriting, wishes
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.notice import Notice, NoticeKind
from emailrelay.store.spool.message.spool import Spool

_NOTIFIED = b"X-MailRelay-Notified:"


def take_failure(spool: Spool, message: QueueId) -> "SpoolFailure | None":
    """Lock a failed message; see ``Store.failure``."""
    with as_store_error(f"read the failed message {message}"):
        locked = moves.lock(spool, message, Stage.FAILED)
        if locked is None:
            return None
        try:
            rewriting.shorten_if_long(locked)
            failure = SpoolFailure(locked)
            covered = not failure.history.notified and notice.covered(spool, message)
        except BaseException:
            locked.release()
            raise
        if covered:
            locked.release()  # the next sweep records it
        return None if covered else failure


class SpoolFailure(FailedMessage):
    """See ``FailedMessage``. The notice lies under ``.dsn/`` from ``prepare`` until it has left."""

    def __init__(self, locked: Locked) -> None:
        """Take over the lock, and read the envelope."""
        self.id = locked.id
        self._locked, self._spool = locked, locked.spool
        self.envelope, self.history = _read(file_octets.read_ends(locked.descriptor))
        self._open = True

    async def beginning(self, most: int) -> bytes:
        """See ``FailedMessage.beginning``."""
        with as_store_error(f"read {self._spool.content(self.id)}"):
            descriptor = regular_files.open_regular(self._spool.content(self.id))
            if descriptor is None:
                return b""
            try:
                return os.pread(descriptor, most, 0)
            finally:
                os.close(descriptor)

    async def record(self, *, told: bool = False) -> None:
        """See ``FailedMessage.record``."""
        await in_thread(self._record, Notified(at=self._spool.clock(), told=told))

    def _record(self, noted: Notified) -> None:
        with as_store_error(f"note that the sender of {self.id} is told"):
            self._discard_unrecorded()
            notice.record(self._locked, noted)

    def beside(self, other: FailedMessage) -> bool:
        """See ``FailedMessage.beside``."""
        return isinstance(other, SpoolFailure) and other._spool is self._spool  # noqa: SLF001 - its own kind

    def _discard_unrecorded(self) -> None:
        unrecorded = notice.lying(self._spool, self.id)
        if unrecorded is not None and not notice.settle_unrecorded(unrecorded):
            raise StoreError(f"tell of {self.id}", "an earlier notice about it has not left yet")

    async def prepare(
        self,
        text: Callable[[QueueId], bytes],
        *,
        local: bool,
        to: Sequence[Address] = (),
        also: Sequence[FailedMessage] = (),
    ) -> PreparedNotice:
        """See ``FailedMessage.prepare``."""
        if self.envelope is None:
            raise ValueError(f"{self.id}: the sender is unknown")
        kind = NoticeKind.LOCAL if local else NoticeKind.RELAY
        to = tuple(to) or (self.envelope.sender,)
        others = [other for other in also if isinstance(other, SpoolFailure)]
        return await in_thread(self._prepare, kind, text, to, others)

    def _prepare(
        self,
        kind: NoticeKind,
        text: Callable[[QueueId], bytes],
        to: tuple[Address, ...],
        others: "list[SpoolFailure]",
    ) -> PreparedNotice:
        with as_store_error(f"write a notice about {self.id}"):
            self._discard_unrecorded()
            drafted = Notice(self._spool, self.id, kind)
            prepared = drafted.draft(
                to, text, [other.id for other in others], depth=notice_depth((self, *others))
            )
            noted = Notified(at=self._spool.clock(), told=True, to=to, notice=prepared.id)
            notice.record(self._locked, noted)
            for other in others:
                notice.record(other._locked, noted)  # noqa: SLF001 - its own kind
        return prepared

    async def prepared(self) -> PreparedNotice | None:
        """See ``FailedMessage.prepared``."""
        with as_store_error(f"read a notice about {self.id}"):
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
        await in_thread(self._relay)

    def _relay(self) -> None:
        with as_store_error(f"send a notice about {self.id}"):
            left = notice.lying(self._spool, self.id)
            if left is not None:
                left.move_on()

    async def delivered(self) -> None:
        """See ``FailedMessage.delivered``."""
        with as_store_error(f"remove a notice about {self.id}"):
            left = notice.lying(self._spool, self.id)
            if left is not None:
                left.discard()

    async def remove(self) -> None:
        """See ``FailedMessage.remove``."""
        with as_store_error(f"remove {self.id}"):
            if moves.history_of(self._locked).wish is None:
                await in_thread(moves.make, self._locked, transition.gone(MessageEnd.EXPIRED))
        await self.release()

    async def release(self) -> None:
        """See ``FailedMessage.release``."""
        if not self._open:
            return
        self._open = False
        with as_store_error(f"carry out the wish for {self.id}"):
            with self._locked:
                wish = moves.history_of(self._locked).wish
                if wish is not None:
                    await wishes.grant(self._locked, wish)
            if wish is not None:  # another one may have come meanwhile
                await wishes.grant_late(self._spool, self.id, self._locked.stage)


def _read(octets: bytes) -> tuple[Envelope | None, History]:
    """Read an envelope file; of a damaged one, all that can be told from the rest."""
    try:
        file = envelope_format.parse(octets)
    except DamagedMessage:
        envelope, history = envelope_format.salvage(octets), journal_format.history(octets)
        if envelope is None and _NOTIFIED in octets:
            history = history._replace(notified=True)
        return envelope, history
    return file.envelope, journal_format.history(file.tail)
