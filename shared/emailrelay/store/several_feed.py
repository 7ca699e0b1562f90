"""The messages due in several stores."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import AsyncExitStack
from typing import Self

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.claim import Claim
from emailrelay.store.feed import Feed
from emailrelay.store.hint_channel import HintChannel

_SOON = 0.1
"""Seconds after which a feed that has given nothing counts as dry."""
_LOOK = 1.0
"""Seconds between looks for feeds that have joined."""


class SeveralFeed(Feed):
    """See ``Feed``. It adds itself to ``known``, so that stores that open later can join.

    A task asks one feed in its turn, and all dry ones: two feeds with mail would both claim.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        stage: Stage,
        hints: HintChannel | None,
        known: set["SeveralFeed"],
    ) -> None:
        self._stores, self._stage, self._hints, self._known = tuple(stores), stage, hints, known
        self._feeds: list[Feed] = []
        self._dry: set[Feed] = set()
        self._turn = 0
        self._closing = AsyncExitStack()

    async def join(self, store: Store) -> None:
        """Watch one more store."""
        feed = store.feed(self._stage, hints=self._hints)
        self._feeds.append(await self._closing.enter_async_context(feed))

    async def __aenter__(self) -> Self:
        """See ``Feed``."""
        for store in self._stores:
            await self.join(store)
        self._known.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        """See ``Feed``."""
        self._known.discard(self)
        await self._closing.aclose()

    def wake(self) -> None:
        """See ``Feed.wake``."""
        for feed in self._feeds:
            feed.wake()

    def recall(self, messages: Collection[QueueId]) -> None:
        """See ``Feed.recall``; each store knows its own messages."""
        for feed in self._feeds:
            feed.recall(messages)

    def all_heard(self) -> bool:
        """See ``Feed.all_heard``."""
        heard = [feed.all_heard() for feed in self._feeds]  # each repeats its own
        return all(heard)

    def take_no_more(self) -> None:
        """See ``Feed.take_no_more``."""
        for feed in self._feeds:
            feed.take_no_more()

    def look(self) -> None:
        """See ``Feed.look``."""
        for feed in self._feeds:
            feed.look()

    async def claim(self) -> Claim:
        """See ``Feed.claim``."""
        asking: dict[asyncio.Task[Claim], Feed] = {}
        claim: Claim | None = None
        try:
            claim = found = await self._claimed(asking)
        finally:
            giving_back = asyncio.ensure_future(_give_back(asking))
            try:
                await asyncio.shield(giving_back)
            except asyncio.CancelledError:
                await giving_back
                if claim is not None:
                    await claim.release()
                raise
        return found

    async def _claimed(self, asking: dict[asyncio.Task[Claim], Feed]) -> Claim:
        wanted, wait = self._first(), _SOON
        while True:
            for feed in wanted:
                if feed not in asking.values():
                    asking[asyncio.create_task(feed.claim())] = feed
            done, _ = await asyncio.wait(asking, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            if done:
                return self._taken(done.pop(), asking)
            self._dry.update(asking.values())
            wanted, wait = tuple(self._feeds), _LOOK

    def _first(self) -> Sequence[Feed]:
        """Return the feeds to ask at first."""
        flowing = [feed for feed in self._feeds if feed not in self._dry]
        self._turn += 1
        return (*self._dry, *flowing[self._turn % len(flowing) :][:1]) if flowing else self._feeds

    def _taken(self, task: asyncio.Task[Claim], asking: dict[asyncio.Task[Claim], Feed]) -> Claim:
        feed = asking.pop(task)
        try:
            claim = task.result()
        except StoreError:
            self._dry.add(feed)
            raise
        self._dry.discard(feed)
        return claim


async def _give_back(asking: dict[asyncio.Task[Claim], Feed]) -> None:
    """End the asking; what was claimed in the same moment is free again."""
    for task in asking:
        task.cancel()
    for found in await asyncio.gather(*asking, return_exceptions=True):
        if isinstance(found, Claim):
            await found.release()
