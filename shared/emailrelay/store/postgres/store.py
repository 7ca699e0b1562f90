"""The PostgreSQL store: the async shell around its plain parts."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

from emailrelay.envelope import Envelope
from emailrelay.errors import RelayError, StoreError
from emailrelay.events.event import Report
from emailrelay.journal import AdministratorWish, Entry
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import uuid_of
from emailrelay.stage import Stage
from emailrelay.store.base import Listed, Store
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.postgres import sweep
from emailrelay.store.postgres.feed.feed import PostgresFeed
from emailrelay.store.postgres.link import heartbeat, place
from emailrelay.store.postgres.link.clock import DatabaseClock
from emailrelay.store.postgres.link.connections import DatabaseConnections
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.marks import clock_mark, entrance
from emailrelay.store.postgres.marks.limits import PostgresLimits, Slots
from emailrelay.store.postgres.message import adoption, operator
from emailrelay.store.postgres.message.claim import PostgresClaim, Services
from emailrelay.store.postgres.message.claiming import Claimer
from emailrelay.store.postgres.message.committing import Committer
from emailrelay.store.postgres.message.draft import PostgresDraft
from emailrelay.store.postgres.message.leases import Leases
from emailrelay.store.postgres.message.notice import PostgresFailure
from emailrelay.store.postgres.message.past import PostgresHistory
from emailrelay.store.postgres.message.settling import Settler
from emailrelay.store.postgres.message.waiting import ClientWaits
from emailrelay.store.postgres.schema import versions
from emailrelay.store.postgres.verification import PostgresVerification

_SWEEP = 300.0
"""Seconds between two sweeps of one process."""


class PostgresStore(Store):
    """See ``Store``. ``clock`` replaces the database's in tests."""

    def __init__(
        self,
        url: str,
        *,
        report: Report,
        clock: Callable[[], float] | None = None,
        looking: bool = False,
        falls_back: bool = False,
    ) -> None:
        """Use the database at ``url``; with ``falls_back`` a lost commit is settled elsewhere."""
        self._falls_back = falls_back
        self._place = place.parse(url)
        self._report, self._clock, self._looking = report, clock, looking
        self._opened: Services | None = None
        self._slots: Slots | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def _services(self) -> Services:
        if self._opened is None:
            raise RuntimeError("the store is used outside its block")
        return self._opened

    @property
    def _database(self) -> Database:
        return self._services.database

    async def __aenter__(self) -> Self:
        """See ``Store``."""
        connections = DatabaseConnections(self._place, self._report)
        clock = DatabaseClock(self._clock)
        try:
            async with connections.lend(f"open {self._place.shown}") as connection:
                await versions.check(connection, self._place.allow)
            await heartbeat.beat(connections, clock)
            database = Database(connections, clock, self._report)
            if not self._looking:
                await clock_mark.look(database)
                await _sweep_first(database)
            connections.opened = True
        except BaseException:
            await connections.close()
            raise
        committer, settler = Committer(database, waits=not self._falls_back), Settler(database)
        self._opened = Services(
            database=database,
            committer=committer,
            waiters=ClientWaits(database),
            settler=settler,
            leases=Leases(database),
            claimer=Claimer(database, settler),
        )
        self._slots = Slots(database)
        if not self._looking:
            beating = heartbeat.keep_beating(connections, clock)
            works = (self._sweep_now_and_then(), beating)
            self._tasks = [asyncio.create_task(work) for work in works]
        return self

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP * random.uniform(0.5, 1.0))  # noqa: S311 - it spreads load
            try:
                await sweep.sweep(self._database)
            except RelayError as error:
                self._database.trouble("clean up", error)

    async def __aexit__(self, *_: object) -> None:
        """See ``Store``."""
        services, self._opened = self._services, None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await services.committer.close()
        await services.settler.close()
        await services.waiters.close()
        await services.leases.close()
        if self._slots is not None:
            await self._slots.close()
        if services.database.notifier is not None:
            await services.database.notifier.close()
        await services.database.connections.close()

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> PostgresDraft:
        """See ``Store.draft``."""
        services = self._services
        return PostgresDraft(
            services.database, services.committer, services.waiters, envelope, message
        )

    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,
    ) -> None:
        """See ``Store.adopt``."""
        await adoption.adopt(self._database, message, envelope, entries, content, once=once)

    def unavailable(self) -> StoreError | None:
        """See ``Store.unavailable``."""
        return self._database.connections.unavailable("begin a message")

    def limits(self, route: str) -> PostgresLimits:
        """See ``Store.limits``."""
        if self._slots is None:
            raise RuntimeError("the store is used outside its block")
        return PostgresLimits(self._slots, route)

    async def set_entrance(self, stage: Stage) -> None:
        """See ``Store.set_entrance``."""
        async with self._database.connections.lend("note whether filters come first") as lent:
            await entrance.set_entrance(lent, stage)

    async def entrance(self) -> Stage:
        """See ``Store.entrance``."""
        async with self._database.connections.lend("read whether filters come first") as lent:
            return await entrance.entrance(lent)

    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> PostgresFeed:  # noqa: ARG002 - see ``Store.dispatch``
        """See ``Store.feed``."""
        return PostgresFeed(self._services, stage)

    async def claim(
        self, stage: Stage, message: QueueId, *, due_only: bool = True
    ) -> PostgresClaim | None:
        """See ``Store.claim``."""
        uuid = uuid_of(message)
        if uuid is None:
            return None
        taken = await self._services.claimer.one(stage, uuid, due_only=due_only)
        return None if taken is None else PostgresClaim(self._services, taken)

    def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """See ``Store.listing``."""
        return operator.listing(self._database, stages)

    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[Entry]] | None:
        """See ``Store.journal``."""
        return await operator.read_journal(self._database, message)

    def history(self) -> PostgresHistory:
        """See ``Store.history``."""
        return PostgresHistory(self._database)

    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """See ``Store.wish``."""
        return await operator.wish(self._database, message, wish)

    async def flush(self, message: QueueId) -> bool:
        """See ``Store.flush``."""
        return await operator.flush(self._database, message)

    async def failure(self, message: QueueId) -> PostgresFailure | None:
        """See ``Store.failure``."""
        uuid = uuid_of(message)
        if uuid is None:
            return None
        taken = await self._services.claimer.one(Stage.FAILED, uuid, due_only=False)
        if taken is None:
            return None
        claim = PostgresClaim(self._services, taken)
        return PostgresFailure(self._database, claim, uuid, taken.row.token)

    def verification(self, *, contents: bool) -> PostgresVerification:
        """See ``Store.verification``."""
        return PostgresVerification(self._database, self, contents=contents)


async def _sweep_first(database: Database) -> None:
    """Sweep at the opening, which does not fail for what stays until the next sweep."""
    try:
        await sweep.sweep(database)
    except StoreError as error:
        database.trouble("clean up", error)
