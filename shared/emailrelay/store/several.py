"""Several stores as one: mail goes into any of them that works, and comes out of all of them."""

import asyncio
import random
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Self, TypeVar

from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.journal import AdministratorWish, Entry
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.routes import Rate
from emailrelay.stage import Stage
from emailrelay.store.base import Listed, Store
from emailrelay.store.claim import Claim
from emailrelay.store.draft import Draft
from emailrelay.store.failure import FailedMessage
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.history_of_several import HistoryOfSeveral
from emailrelay.store.limits import RouteLimits, Slot
from emailrelay.store.mail_history import HistoryBounds, MailHistory
from emailrelay.store.several_feed import SeveralFeed
from emailrelay.store.verification import Verification

Found = TypeVar("Found")
_PAUSE = 5.0
"""Seconds between tries to open a store that was unavailable at the start."""


class SeveralStores(Store):
    """See ``Store``. At least one must open; the others join when they can be opened.

    The limits of routes are those of the first store: while it is unavailable, routes with limits
    wait.
    """

    def __init__(self, stores: Sequence[Store], report: Report) -> None:
        self._all, self._report = tuple(stores), report
        self._ids = QueueIds(secrets.randbits(PROCESS_BITS))
        self._open: list[Store] = []
        self._closing = AsyncExitStack()
        self._opening: list[asyncio.Task[None]] = []
        self._feeds: set[SeveralFeed] = set()
        self._entrance: Stage | None = None
        self._bounds: HistoryBounds | None = None

    async def __aenter__(self) -> Self:
        """See ``Store``."""
        away: list[tuple[Store, StoreError]] = []
        try:
            for store in self._all:
                try:
                    self._open.append(await self._closing.enter_async_context(store))
                except StoreError as error:
                    away.append((store, error))
        except BaseException:
            self._open.clear()
            await self._closing.aclose()
            raise
        if not self._open:
            raise away[0][1]
        random.shuffle(self._open)  # so that many receivers use all stores
        for store, trouble in away:
            self._report(StoreTrouble(doing="opening one of several stores", reason=str(trouble)))
            self._opening.append(asyncio.create_task(self._open_later(store)))
        return self

    async def _open_later(self, store: Store) -> None:
        entered = False
        while True:
            await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load
            try:
                if not entered:
                    await self._closing.enter_async_context(store)
                    entered = True
                if self._entrance is not None:
                    await store.set_entrance(self._entrance)
                if self._bounds is not None:
                    await store.history().keep(self._bounds)
            except StoreError:
                continue
            except StoreUnusable as error:
                self._report(StoreTrouble(doing="opening one of several stores", reason=str(error)))
                continue
            break
        self._open.append(store)
        for feed in tuple(self._feeds):
            await feed.join(store)

    async def __aexit__(self, *_: object) -> None:
        """See ``Store``."""
        for task in self._opening:
            task.cancel()
        await asyncio.gather(*self._opening, return_exceptions=True)
        self._open = []
        await self._closing.aclose()

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        """See ``Store.draft``."""
        for store in self._open:
            if store.unavailable() is None:
                return store.draft(envelope, message or self._new_id(store))
        return self._open[0].draft(envelope, message)

    def _new_id(self, store: Store) -> QueueId:
        """Return an id that chooses ``store``: ``adopt`` finds there what a lost commit left."""
        while True:
            message = self._ids.next(time.time())
            if self._chosen(message) is store:
                return message

    def _chosen(self, message: QueueId) -> Store:
        return self._all[zlib.crc32(message.encode()) % len(self._all)]

    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,
    ) -> None:
        """See ``Store.adopt``; the id chooses the store, so that a second try finds the first."""
        store = self._chosen(message)
        if store not in self._open:
            raise StoreError(f"adopt {message}", "one of several stores is unavailable")
        await store.adopt(message, envelope, entries, content, once=once)

    def unavailable(self) -> StoreError | None:
        """See ``Store.unavailable``."""
        found = [store.unavailable() for store in self._open]
        return None if None in found else found[0]

    def limits(self, route: str) -> RouteLimits:
        """See ``Store.limits``."""
        return _LimitsOfFirst(lambda: self._limits_now(route))

    def _limits_now(self, route: str) -> RouteLimits:
        first = self._all[0]
        if first not in self._open:
            raise StoreError("look at the limits of a route", "the first of several stores is away")
        return first.limits(route)

    async def set_entrance(self, stage: Stage) -> None:
        """See ``Store.set_entrance``."""
        self._entrance = stage
        for store in self._open:
            try:
                await store.set_entrance(stage)
            except StoreError as error:
                self._report(StoreTrouble(doing="noting where mail enters", reason=str(error)))

    async def entrance(self) -> Stage:
        """See ``Store.entrance``."""
        for store in self._open:
            if store.unavailable() is None:
                return await store.entrance()
        return await self._open[0].entrance()

    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> SeveralFeed:
        """See ``Store.feed``."""
        return SeveralFeed(self._open, stage, hints, self._feeds)

    async def _first(
        self, ask: Callable[[Store], Awaitable[Found]], nothing: Found, doing: str
    ) -> Found:
        """Ask all stores for something; one that cannot be asked might have had it."""
        trouble: StoreError | None = None
        for store in tuple(self._open):
            try:
                found = await ask(store)
            except StoreError as error:
                trouble = error
                continue
            if found:
                return found
        if trouble is not None:
            raise trouble
        if len(self._open) < len(self._all):
            raise StoreError(doing, "one of several stores is unavailable, and may have it")
        return nothing

    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """See ``Store.claim``."""
        return await self._first(
            lambda store: store.claim(stage, message, due_only=due_only), None, f"claim {message}"
        )

    async def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """See ``Store.listing``."""
        trouble: StoreError | None = None
        for store in tuple(self._open):
            try:
                async for listed in store.listing(stages):
                    yield listed
            except StoreError as error:  # the others are listed all the same
                trouble = error
        if trouble is not None:
            raise trouble
        if len(self._open) < len(self._all):
            raise StoreError("list messages", "one of several stores is unavailable")

    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[Entry]] | None:
        """See ``Store.journal``."""
        return await self._first(lambda store: store.journal(message), None, f"read {message}")

    def history(self) -> MailHistory:
        """See ``Store.history``."""
        away = (
            StoreError(
                "read the history", "one of several stores is unavailable, and may have more"
            )
            if len(self._open) < len(self._all)
            else None
        )
        return HistoryOfSeveral(self._open, note=self._note_bounds, away=away)

    def _note_bounds(self, bounds: HistoryBounds) -> None:
        self._bounds = bounds

    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """See ``Store.wish``."""
        doing = f"{wish} {message}"
        return await self._first(
            lambda store: store.wish(message, wish), nothing=False, doing=doing
        )

    async def flush(self, message: QueueId) -> bool:
        """See ``Store.flush``."""
        doing = f"flush {message}"
        return await self._first(lambda store: store.flush(message), nothing=False, doing=doing)

    async def failure(self, message: QueueId) -> FailedMessage | None:
        """See ``Store.failure``."""
        return await self._first(lambda store: store.failure(message), None, f"read {message}")

    def verification(self, *, contents: bool) -> Verification:  # noqa: ARG002 - it refuses
        """See ``Store.verification``."""
        raise StoreUnusable("several stores cannot be verified at once; name one: --store URL")


class _LimitsOfFirst(RouteLimits):
    """The limits of a store that may open later. ``now`` gives them, or raises StoreError."""

    def __init__(self, now: Callable[[], RouteLimits]) -> None:
        self._now = now

    async def slot(self, most: int, *, within: float) -> Slot | None:
        """See ``RouteLimits.slot``."""
        return await self._now().slot(most, within=within)

    async def permit(self, rate: Rate) -> float:
        """See ``RouteLimits.permit``."""
        return await self._now().permit(rate)
