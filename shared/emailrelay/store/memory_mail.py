"""The mail of the memory store, which several openers may share."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from emailrelay import journal
from emailrelay.envelope import Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.memory_limits import MemoryLimits


@dataclass(slots=True)
class Kept:
    """One message. ``turn`` counts how often it became free, so that each time is told once."""

    id: QueueId
    stage: Stage
    content: bytes
    envelope: Envelope
    entries: list[journal.Entry]
    since: float
    claimed: bool = False
    waiter: "asyncio.Future[Reply] | None" = None
    turn: int = 0

    @property
    def history(self) -> History:
        """Read the journal."""
        return journal.read(self.entries)


@dataclass(slots=True)
class MemoryMail:
    """The mail itself, oldest first, and the bell that rings at each change."""

    kept: dict[QueueId, Kept] = field(default_factory=dict[QueueId, Kept])
    entrance: Stage = Stage.READY
    limits: dict[str, MemoryLimits] = field(default_factory=dict[str, MemoryLimits])
    """By the names of routes."""
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Wake everybody who waits for a change."""
        rung, self._bell = self._bell, asyncio.Event()
        rung.set()

    async def change(self, timeout: float | None) -> None:  # noqa: ASYNC109 - running out is no error
        """Wait for a change, at most ``timeout`` seconds."""
        bell = self._bell
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await bell.wait()

    def free(self, stage: Stage, now: float) -> Iterator[tuple[Kept, float]]:
        """Give the unclaimed messages of a stage, each with the seconds until it is due."""
        for kept in self.kept.values():
            if kept.stage is stage and not kept.claimed:
                due = kept.history.next_attempt
                yield kept, 0.0 if due is None or is_due(due, now) else due - now

    def pause(self, stage: Stage, now: float) -> float | None:
        """Give the seconds until the next deferred message is due; None: nothing is deferred."""
        return min((wait for _, wait in self.free(stage, now) if wait > 0), default=None)

    def offer_again(self, message: QueueId) -> None:
        """Tell once more that a message is free."""
        if kept := self.kept.get(message):
            kept.turn += 1
        self.ring()
