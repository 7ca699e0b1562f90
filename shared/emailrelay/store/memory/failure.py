"""The failed messages of a memory store, and the notices about them."""

from collections.abc import Callable, Sequence

from emailrelay.envelope import Address
from emailrelay.journal import Notified
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.store import transition
from emailrelay.store.failure import (
    FailedMessage,
    PreparedNotice,
    notice_depth,
)
from emailrelay.store.memory.changes import MemoryChanges
from emailrelay.store.memory.mail import Kept


class MemoryFailure(FailedMessage):
    """See ``FailedMessage``."""

    def __init__(self, changes: MemoryChanges, kept: Kept) -> None:
        self.id, self.envelope, self.history = kept.id, kept.envelope, kept.history
        self._changes, self._kept = changes, kept
        kept.claimed = True

    async def beginning(self, most: int) -> bytes:
        """See ``FailedMessage``."""
        return self._kept.content[:most]

    async def record(self, *, told: bool = False) -> None:
        """See ``FailedMessage``."""
        self._kept.entries.append(Notified(at=self._changes.clock(), told=told))

    def beside(self, other: FailedMessage) -> bool:
        """See ``FailedMessage``."""
        return isinstance(other, MemoryFailure) and other._changes.mail is self._changes.mail  # noqa: SLF001 - its own kind

    async def prepare(
        self,
        text: Callable[[QueueId], bytes],
        *,
        local: bool,
        to: Sequence[Address] = (),
        also: Sequence[FailedMessage] = (),
    ) -> PreparedNotice:
        """See ``FailedMessage``."""
        message, kept = self._changes.next_id(), self._kept
        to = tuple(to) or (kept.envelope.sender,)
        prepared = PreparedNotice(message, text(message))
        kept.notice, kept.notice_to, kept.local = prepared, to, local
        kept.notice_depth = notice_depth((self, *also))
        noted = Notified(at=self._changes.clock(), told=True, to=to, notice=message)
        for failure in (self, *also):
            if isinstance(failure, MemoryFailure):
                failure._kept.entries.append(noted)  # noqa: SLF001 - its own kind
        return prepared

    async def prepared(self) -> PreparedNotice | None:
        """See ``FailedMessage``."""
        return self._kept.notice

    async def relay(self) -> None:
        """See ``FailedMessage``."""
        self._changes.relay_notice(self._kept)

    async def delivered(self) -> None:
        """See ``FailedMessage``."""
        self._kept.notice = None

    async def remove(self) -> None:
        """See ``FailedMessage``."""
        self._changes.make(self._kept, transition.gone(MessageEnd.EXPIRED))

    async def release(self) -> None:
        """See ``FailedMessage``."""
        self._kept.claimed = False
        if self._kept.history.wish is not None and self.id in self._changes.mail.kept:
            self._changes.obey(self._kept, self._kept.history.wish)
        self._changes.mail.ring()
