"""Claims the messages of one stage by hints, from this process's index or from a dispatcher."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Self

from emailrelay.queue_id import QueueId
from emailrelay.schedule import is_due
from emailrelay.stage import Stage
from emailrelay.store.feed import Feed
from emailrelay.store.hint_channel import TOGETHER, Hint, HintChannel
from emailrelay.store.spool.feed.handed import HandedMessages
from emailrelay.store.spool.feed.hints import WatchedHints
from emailrelay.store.spool.message.claim import SpoolClaim
from emailrelay.store.spool.message.claiming import take
from emailrelay.store.spool.message.handed_claim import HandedClaim
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake.index import Scheduled, forced, scheduled


class SharedHints:
    """Ids that a dispatcher sends to a pool of workers; the first free worker takes each.

    A worker takes one only when it can work on it. An id lost with a dying worker costs the time
    until the dispatcher tries what its scans find again (``lately_given``).
    """

    def __init__(self, spool: Spool, stage: Stage, hints: HintChannel) -> None:
        """Read the hints of the pool's dispatcher."""
        self._spool, self._stage, self._hints = spool, stage, hints
        self._recalled: deque[QueueId] = deque()
        """Messages that the pool should try, and that the channel had no room for yet."""
        self._recalling: asyncio.Task[None] | None = None
        hints.no_room = self._announce

    def _announce(self, message: QueueId) -> None:
        """Tell the dispatcher of a message by its socket, at once: this process may be ending."""
        self._spool.announcer.announce(self._stage, message)
        self._spool.announcer.send_gathered()

    async def open(self) -> None:
        """Do nothing: the dispatcher watches."""

    async def close(self) -> None:
        """Leave the messages of ``recall`` that are not sent yet to their own times."""
        if self._recalling is not None:
            self._recalling.cancel()
            await asyncio.wait((self._recalling,))

    async def next(self) -> Scheduled:
        """Wait for the next hint."""
        hint = await self._hints.receive()
        return forced(hint.message) if hint.forced else scheduled(hint.message, 0.0)

    def later(self, message: QueueId, due: float) -> None:
        """Send a hint to the dispatcher, and to every other pool."""
        self._spool.announcer.announce(self._stage, message, due=due)

    def wake(self) -> None:
        """Do nothing: the same signal wakes the dispatcher."""

    def recall(self, messages: Collection[QueueId]) -> None:
        """Send these messages to the workers of the pool, as fast as they take them."""
        self._recalled.extend(messages)
        if self._recalling is None or self._recalling.done():
            self._recalling = asyncio.create_task(self._recall())

    async def _recall(self) -> None:
        while self._recalled:
            part = [self._recalled.popleft() for _ in range(min(TOGETHER, len(self._recalled)))]
            await self._hints.send([Hint(message, forced=True) for message in part])


class SpoolFeed(Feed):
    """See ``Feed``."""

    def __init__(self, spool: Spool, stage: Stage, hints: WatchedHints | SharedHints) -> None:
        """Claim the messages of ``hints`` at ``stage``."""
        self._spool, self._stage, self._hints = spool, stage, hints
        self._handed: HandedMessages | None = None
        if stage is Stage.READY and isinstance(hints, WatchedHints):
            self._handed = HandedMessages(spool, hints.note)

    async def claim(self) -> SpoolClaim | HandedClaim:
        """See ``Feed.claim``."""
        while True:
            # A long row of messages that cannot be claimed must not block the loop, nor keep the
            # socket for hints unread until it is full.
            await asyncio.sleep(0)
            found = await self._hints.next()
            if self._handed is not None and (handed := self._handed.claim(found.message)):
                return handed
            due = self._spool.put_off.get(found.message)
            if due is not None:
                if not found.forced and not is_due(due, self._spool.clock()):
                    self._hints.later(found.message, due)
                    continue
                del self._spool.put_off[found.message]
            claim = take(self._spool, self._stage, found.message, due_only=not found.forced)
            if isinstance(claim, SpoolClaim):
                return claim
            if claim.due is not None:
                self._hints.later(found.message, claim.due)

    def wake(self) -> None:
        """See ``Feed.wake``."""
        self._hints.wake()

    def recall(self, messages: Collection[QueueId]) -> None:
        """See ``Feed.recall``."""
        self._hints.recall(messages)

    def take_no_more(self) -> None:
        """See ``Feed.take_no_more``."""
        if self._handed is not None:
            self._handed.take_no_more()

    def all_heard(self) -> bool:
        """See ``Feed.all_heard``."""
        return not self._spool.announcer.announce_missed()

    def look(self) -> None:
        """See ``Feed.look``."""
        self._spool.announcer.ask_for_scans()

    async def __aenter__(self) -> Self:
        """See ``Feed``."""
        await self._hints.open()
        if self._handed is not None:
            await self._handed.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        """See ``Feed``."""
        if self._handed is not None:
            await self._handed.close()
        await self._hints.close()


async def dispatch(hints: WatchedHints, to: HintChannel, woken: asyncio.Event) -> None:
    """Send due messages to a pool's workers as fast as they take them, until cancelled."""
    await hints.open()
    waking = asyncio.create_task(_wake_whenever(woken, hints))
    try:
        while True:
            found = [await hints.next()]
            found += hints.more(TOGETHER - 1)
            await to.send([Hint(each.message, each.forced) for each in found])
    finally:
        waking.cancel()
        await hints.close()


async def _wake_whenever(woken: asyncio.Event, hints: WatchedHints) -> None:
    while True:
        await woken.wait()
        woken.clear()
        hints.wake()
