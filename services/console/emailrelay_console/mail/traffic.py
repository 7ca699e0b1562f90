"""Counts the mail that came and went, minute by minute for a day, from history and queue."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from emailrelay.errors import RelayError, reason_of
from emailrelay.history_record import EndedMessage
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId, arrived_at
from emailrelay_console.mail.queue_index import IndexTime, QueueIndex
from emailrelay_console.mail.store_holder import StoreHolder

STEP = 60.0
"""Seconds of a count."""
KEPT = 86400.0
_PATIENCE = 1.0
"""Seconds that a page waits for the history; a long one is counted beside."""
_SLACK = 10.0
"""Seconds by which the order of records may differ from that of their ends."""
_AT_ONCE = 5000
"""Records taken over before other tasks get a turn."""
_DELIVERED = frozenset({MessageEnd.DELIVERED})
_DROPPED = frozenset({MessageEnd.DROPPED, MessageEnd.DELETED, MessageEnd.REFUSED})

Minutes = Mapping[int, int]
"""A count for each minute since 1970."""


class TrafficCounts(NamedTuple):
    """The counts of a day."""

    came: Minutes
    delivered: Minutes
    failed: Minutes
    """Those that are still in the store."""
    dropped: Minutes
    """By a filter, an operator, or a refusal that the client was told."""
    reading: bool = False
    """True while a part of the history is still to be counted."""
    trouble: str = ""


def total(counts: Minutes, since: float) -> int:
    """Add up the counts since a time (seconds since 1970)."""
    return sum(number for minute, number in counts.items() if minute >= since // STEP)


class Traffic:
    """Reads the history once, and then only what is new in it."""

    def __init__(self, store: StoreHolder, index: QueueIndex, clock: Callable[[], float]) -> None:
        self._store, self._index, self._clock = store, index, clock
        self._came, self._delivered, self._dropped = Counter[int](), Counter[int](), Counter[int]()
        self._recent = dict[QueueId, float]()
        """The latest messages that were counted, with their ends: they may be read again."""
        self._latest = 0.0
        self._task: asyncio.Task[None] | None = None
        self._trouble = ""

    async def counts(self) -> TrafficCounts:
        """Return the counts of the last day, perhaps before all of it is counted."""
        oldest = self._clock() - KEPT
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._read(oldest))
        await asyncio.wait((self._task,), timeout=_PATIENCE)
        waiting = await asyncio.to_thread(self._index.times, IndexTime.ARRIVED, oldest, STEP)
        failed = await asyncio.to_thread(self._index.times, IndexTime.FAILED, oldest, STEP)
        return TrafficCounts(
            self._came + Counter(waiting),
            self._delivered,
            failed,
            self._dropped,
            reading=not self._task.done(),
            trouble=self._trouble,
        )

    async def close(self) -> None:
        """Read no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _read(self, oldest: float) -> None:
        try:
            await self._read_on(oldest)
            self._trouble = ""
        except (RelayError, OSError) as error:
            self._trouble = reason_of(error)
            self._restart()
        for counts in (self._came, self._delivered, self._dropped):
            for minute in [each for each in counts if each < oldest // STEP]:
                del counts[minute]

    def _restart(self) -> None:
        """Forget all: a part may have been counted that the next reading finds again."""
        self._latest, self._recent = 0.0, {}
        for counts in (self._came, self._delivered, self._dropped):
            counts.clear()

    async def _read_on(self, oldest: float) -> None:
        since = max(oldest, self._latest - _SLACK)
        history = (await self._store.get()).history()
        number = 0
        async for ended in history.ends(since):
            self._take(ended, oldest)
            number += 1
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        kept = self._latest - 2 * _SLACK
        self._recent = {each: at for each, at in self._recent.items() if at >= kept}

    def _take(self, ended: EndedMessage, oldest: float) -> None:
        self._latest = max(self._latest, min(ended.ended, self._clock()))
        if ended.id in self._recent:
            return
        if ended.ended >= self._latest - 2 * _SLACK:
            self._recent[ended.id] = ended.ended
        arrived = arrived_at(ended.id)
        if arrived is not None and arrived >= oldest and ended.end is not MessageEnd.MOVED:
            self._came[int(arrived // STEP)] += 1
        minute = int(ended.ended // STEP)
        if ended.end in _DELIVERED:
            self._delivered[minute] += 1
        elif ended.end in _DROPPED:
            self._dropped[minute] += 1
