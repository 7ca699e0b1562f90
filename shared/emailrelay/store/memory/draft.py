"""The draft of a memory store, and the wait of its client."""

import asyncio

from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.events.store import PossibleDuplicate
from emailrelay.journal import Doubted
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.draft import Draft
from emailrelay.store.memory.changes import MemoryChanges
from emailrelay.store.memory.mail import Kept


class MemoryDraft(Draft):
    """See ``Draft``."""

    def __init__(self, changes: MemoryChanges, message: QueueId, envelope: Envelope) -> None:
        self.id = message
        self._changes = changes
        self._envelope = envelope
        self._content = bytearray()
        self._kept: Kept | None = None
        self._waiter: asyncio.Future[Reply] | None = None

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft``."""
        self._content += chunk
        return True

    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """See ``Draft``."""
        ack = ack.at(stage)
        content = bytes(self._content)
        accepted = self._changes.accepted(stage, content, ack)._replace(session=session, dsn=dsn)
        kept = self._changes.add(accepted, self.id, self._envelope, content)
        if ack is not Ack.STORED:
            self._waiter = kept.waiter = asyncio.get_running_loop().create_future()
            self._kept = kept

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft``."""
        if self._waiter is None:
            return None
        waiting = (self._waiter,) if gone is None else (self._waiter, gone)
        try:
            await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            return self._waiter.result() if self._waiter.done() else None
        finally:
            await self.discard()

    async def discard(self) -> None:
        """See ``Draft``; what was not committed is in no place but here."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        waits, kept.waiter = kept.waiter is not None, None
        if kept.history.ack is not Ack.DELIVERED:
            return
        if not kept.claimed:
            if kept.id in self._changes.mail.kept:
                self._changes.make(kept, transition.gone(MessageEnd.WITHDRAWN))
        elif waits and kept.at_dot:
            self._changes.report(PossibleDuplicate(id=kept.id, peer=kept.at_dot))
            kept.entries.append(Doubted(at=self._changes.clock(), peer=kept.at_dot))
