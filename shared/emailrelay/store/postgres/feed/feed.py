"""The messages due at one stage, found by polling: often while there are some, else rarely."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Collection
from typing import LiteralString, Self
from uuid import UUID

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import uuid_of
from emailrelay.stage import Stage
from emailrelay.store.feed import Feed
from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.marks import clock_mark
from emailrelay.store.postgres.message.claim import PostgresClaim, Services

BUSY, IDLE = 0.05, 2.0
"""Seconds between two questions: while messages come, and when none has come for a while."""
_GROWTH = 1.3
_MOST = 50
"""Messages claimed at once."""
_CLOCK = 60.0
"""Seconds between looks for a clock that was set back."""
_WOKEN_AT_ONCE = 5000


def _made_due(these: LiteralString) -> LiteralString:
    return f"""
with later as materialized (
    select id from emailrelay.message m where m.stage = %(stage)s and m.run_at > {NOW}
    and (m.lease_until is null or m.lease_until <= statement_timestamp()){these}
    limit %(most)s for update skip locked
)
update emailrelay.message m set run_at = {NOW} from later where m.id = later.id
"""


_WAKE = _made_due("")
_RECALL = _made_due(" and m.id = any(%(ids)s)")


class PostgresFeed(Feed):
    """See ``Feed``. It claims as many messages at once as there are tasks that wait."""

    def __init__(self, services: Services, stage: Stage) -> None:
        self._services, self._stage = services, stage
        self._waiting: deque[asyncio.Future[PostgresClaim]] = deque()
        self._spare: deque[PostgresClaim] = deque()
        """Claims whose waiting tasks were cancelled."""
        self._soon = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._waking: asyncio.Task[None] | None = None
        self._recalling: asyncio.Task[None] | None = None
        self._recalled: list[QueueId] = []
        """Messages to be made due."""
        self._over = False
        self._failed: Exception | None = None
        """What has ended the asking: an error of this program."""
        self._looked = 0.0

    async def __aenter__(self) -> Self:
        """See ``Feed``."""
        database = self._services.database
        database.listeners[self._stage].add(self._soon.set)
        if database.notifier is not None:
            await database.notifier.hear()
        await self._look_at_clock()
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        """See ``Feed``."""
        self._services.database.listeners[self._stage].discard(self._soon.set)
        self._over = True
        self._soon.set()
        for waking in (self._waking, self._recalling):
            if waking is not None:
                waking.cancel()
        ended = (self._asking, self._waking, self._recalling)
        tasks = [task for task in ended if task is not None]
        await asyncio.wait(tasks)  # a claim under way must not be left with its lease
        await asyncio.gather(*(claim.release() for claim in self._spare))

    def wake(self) -> None:
        """See ``Feed.wake``; all feeds of the stage see it, on all hosts."""
        if self._waking is None or self._waking.done():
            self._waking = asyncio.create_task(self._wake())

    def recall(self, messages: Collection[QueueId]) -> None:
        """See ``Feed.recall``."""
        self._recalled += messages
        if self._recalling is None or self._recalling.done():
            self._recalling = asyncio.create_task(self._recall())

    async def _wake(self) -> None:
        while await self._make_due(_WAKE, []) == _WOKEN_AT_ONCE:
            pass

    async def _recall(self) -> None:
        while self._recalled:
            part, self._recalled = (
                self._recalled[:_WOKEN_AT_ONCE],
                self._recalled[_WOKEN_AT_ONCE:],
            )
            found = (uuid_of(message) for message in part)
            await self._make_due(_RECALL, [uuid for uuid in found if uuid is not None])

    async def _make_due(self, statement: LiteralString, ids: list[UUID]) -> int:
        """Make messages due; return their number."""
        database = self._services.database
        parameters = {
            "now": database.clock.parameter,
            "stage": self._stage.value,
            "most": _WOKEN_AT_ONCE,
            "ids": ids,
        }
        try:
            async with database.connections.lend("make messages due") as connection:
                cursor = await connection.execute(statement, parameters)
        except StoreError as error:
            database.trouble("make messages due", error)
            return 0
        database.ring(self._stage)
        return cursor.rowcount

    async def claim(self) -> PostgresClaim:
        """See ``Feed.claim``."""
        if self._spare:
            return self._spare.popleft()
        if self._failed is not None:
            raise self._failed
        waiter: asyncio.Future[PostgresClaim] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._soon.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._hand_out(waiter.result())
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiter)
            raise

    def _hand_out(self, claim: PostgresClaim) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(claim)
                return
        self._spare.append(claim)

    async def _ask(self) -> None:
        """Ask until the feed is over; an unexpected error goes to those that wait."""
        try:
            await self._ask_until_over()
        except Exception as error:  # noqa: BLE001 - it is raised by ``claim``
            self._failed = error
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_exception(error)

    async def _ask_until_over(self) -> None:
        pause = BUSY
        while not self._over:
            self._soon.clear()
            found = await self._claimed(min(len(self._waiting), _MOST))
            pause = BUSY if found else min(pause * _GROWTH, IDLE)
            if found and self._waiting:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_spread(pause) if self._waiting else None):
                    await self._soon.wait()
                    pause = BUSY

    async def _look_at_clock(self) -> None:
        self._looked = asyncio.get_running_loop().time()
        try:
            await clock_mark.look(self._services.database)
        except StoreError as error:
            self._services.database.trouble("look at the clock", error)

    async def _claimed(self, wanted: int) -> int:
        """Claim and hand out messages; return how many there were."""
        if not wanted:
            return 0
        if asyncio.get_running_loop().time() - self._looked > _CLOCK:
            await self._look_at_clock()
        services = self._services
        try:
            taken = await services.claimer.due(self._stage, wanted)
        except StoreError as error:
            services.database.refused("look for mail", error)
            return 0
        for each in taken:
            self._hand_out(PostgresClaim(services, each))
        return len(taken)


def _spread(pause: float) -> float:
    """Shorten a pause by chance, so that many hosts do not ask at once."""
    return pause * random.uniform(0.7, 1.0)  # noqa: S311 - it spreads load
