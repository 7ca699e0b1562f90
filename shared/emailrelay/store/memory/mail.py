"""The mail of the memory store, which several openers may share."""

import asyncio
import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from emailrelay import journal
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import is_due, was_set_back
from emailrelay.stage import Stage
from emailrelay.store.failure import PreparedNotice
from emailrelay.store.memory.history import MemoryHistory
from emailrelay.store.memory.limits import MemoryLimits


@dataclass(slots=True)
class Kept:
    """One message."""

    id: QueueId
    stage: Stage
    content: bytes
    envelope: Envelope
    entries: list[journal.Entry]
    since: float
    changed: float
    """The clock's time at the last change, which tells whether the clock was set back since."""
    claimed: bool = False
    waiter: "asyncio.Future[Reply] | None" = None
    at_dot: str = ""
    """The server that its final dot is on the way to, while a client waits."""
    woken: bool = False
    """A feed has made it due before its time."""
    notice: PreparedNotice | None = None
    """About its failure, recorded and not yet sent."""
    notice_to: tuple[Address, ...] = ()
    notice_depth: int = 0
    local: bool = False
    """The notice goes to a local agent."""

    def wait(self, now: float) -> float:
        """Return the seconds until it is due."""
        due = self.history.next_attempt
        if self.woken or due is None or is_due(due, now) or was_set_back(self.changed, now):
            return 0.0
        return due - now

    @property
    def history(self) -> History:
        """Fold the journal."""
        return journal.read(self.entries)


@dataclass(slots=True)
class MemoryMail:
    """The mail itself, oldest first, and the event of its next change."""

    kept: dict[QueueId, Kept] = field(default_factory=dict[QueueId, Kept])
    entrance: Stage = Stage.READY
    limits: dict[str, MemoryLimits] = field(default_factory=dict[str, MemoryLimits])
    """By the names of routes."""
    history: MemoryHistory = field(default_factory=MemoryHistory)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Wake all tasks that wait for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def change(self, timeout: float | None) -> None:  # noqa: ASYNC109 - running out is no error
        """Wait for a change, at most ``timeout`` seconds."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await changed.wait()

    def wake(self, stage: Stage, messages: Collection[QueueId] | None = None) -> None:
        """Make free messages of a stage due: these, or (None) all."""
        for message in list(self.kept) if messages is None else messages:
            kept = self.kept.get(message)
            if kept is not None and kept.stage is stage and not kept.claimed:
                kept.woken = True
        self.ring()

    def free(self, stage: Stage, now: float) -> Iterator[tuple[Kept, float]]:
        """Return the unclaimed messages of a stage, each with the seconds until it is due."""
        for kept in self.kept.values():
            if kept.stage is stage and not kept.claimed:
                yield kept, kept.wait(now)

    def pause(self, stage: Stage, now: float) -> float | None:
        """Return the seconds until the next deferred message is due; None: nothing is deferred."""
        return min((wait for _, wait in self.free(stage, now) if wait > 0), default=None)
