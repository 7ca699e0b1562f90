"""A store within one process, for tests and trials: its mail ends with the process.

It keeps the contract of ``store.base`` except for stable storage. Stores that share one
``MemoryMail`` see the same mail, as two processes on one spool do. All of it runs on the event
loop, and no step that changes mail awaits, so each is whole by itself.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

from emailrelay import journal
from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.event import Report
from emailrelay.journal import AdministratorWish, Wished
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.base import Listed, Store
from emailrelay.store.claim import Claim
from emailrelay.store.draft import Draft
from emailrelay.store.failure import FailedMessage
from emailrelay.store.feed import Feed
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits
from emailrelay.store.memory.changes import MemoryChanges
from emailrelay.store.memory.claim import MemoryClaim
from emailrelay.store.memory.draft import MemoryDraft
from emailrelay.store.memory.failure import MemoryFailure
from emailrelay.store.memory.feed import MemoryFeed
from emailrelay.store.memory.history import MemoryHistory
from emailrelay.store.memory.limits import MemoryLimits
from emailrelay.store.memory.mail import Kept, MemoryMail


class MemoryStore(Store):
    """See ``Store``. ``mail`` is shared by the stores that are to see the same messages."""

    def __init__(
        self,
        *,
        report: Report,
        clock: Callable[[], float] = time.time,
        mail: MemoryMail | None = None,
    ) -> None:
        self._report = report
        self._clock = clock
        self.mail = mail or MemoryMail()
        self._changes = MemoryChanges(report=report, clock=clock, mail=self.mail)

    async def __aenter__(self) -> Self:
        """See ``Store``."""
        for kept in list(self.mail.kept.values()):
            if kept.notice is not None and not kept.local and not kept.claimed:
                self._changes.relay_notice(kept)
        return self

    async def __aexit__(self, *_: object) -> None:
        """See ``Store``; a commit never awaits, so none is under way."""

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        """See ``Store``."""
        return MemoryDraft(self._changes, message or self._changes.next_id(), envelope)

    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[journal.Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,  # noqa: ARG002 - this store forgets messages that leave
    ) -> None:
        """See ``Store``."""
        octets = b"".join([chunk async for chunk in content])
        if message not in self.mail.kept:
            now = self._clock()
            self.mail.kept[message] = Kept(
                message, Stage.HELD, octets, envelope, list(entries), since=now, changed=now
            )

    def limits(self, route: str) -> RouteLimits:
        """See ``Store``."""
        return self.mail.limits.setdefault(route, MemoryLimits(clock=self._clock))

    async def set_entrance(self, stage: Stage) -> None:
        """See ``Store``."""
        self.mail.entrance = stage

    async def entrance(self) -> Stage:
        """See ``Store``."""
        return self.mail.entrance

    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> Feed:  # noqa: ARG002 - see ``Store.dispatch``
        """See ``Store``."""
        return MemoryFeed(self, self.mail, self._clock, stage)

    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None or kept.stage is not stage or kept.claimed:
            return None
        if due_only and kept.wait(self._clock()) > 0:
            return None
        if kept.history.ack is Ack.DELIVERED and kept.waiter is None:
            self._changes.make(kept, transition.gone(MessageEnd.WITHDRAWN))
            self._report(Withdrawn(id=message))
            return None
        return MemoryClaim(self._changes, kept)

    async def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """See ``Store``."""
        for kept in list(self.mail.kept.values()):
            if kept.stage in stages:
                size = len(kept.content)
                yield Listed(id=kept.id, stage=kept.stage, since=kept.since, size=size)

    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[journal.Entry]] | None:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        return (kept.stage, kept.envelope, list(kept.entries)) if kept else None

    def history(self) -> MemoryHistory:
        """See ``Store``."""
        return self.mail.history

    async def flush(self, message: QueueId) -> bool:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None or kept.claimed:
            return False
        now = self._clock()
        change = transition.after_flush(stage=kept.stage, history=kept.history, now=now)
        if change is not None:
            self._changes.make(kept, change)
            self.mail.ring()
        return change is not None

    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None:
            return False
        if kept.claimed:
            kept.entries.append(Wished(at=self._clock(), wish=wish))
        else:
            self._changes.obey(kept, wish)
            self.mail.ring()
        return True

    async def failure(self, message: QueueId) -> FailedMessage | None:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None or kept.stage is not Stage.FAILED or kept.claimed:
            return None
        return MemoryFailure(self._changes, kept)
