"""The connections of one process to the database.

When the database is unavailable, every call fails at once, and one task tries to reach it again. No
connection keeps a state between two transactions: a pooler in transaction mode may stand between.
"""

import asyncio
import contextlib
import random
import select
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus

from emailrelay.errors import RelayError, StoreError, StoreUnusable
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.store.postgres.link.place import Place
from emailrelay.store.postgres.link.trouble import Lost, Unfit, not_connected, translated

DatabaseConnection: TypeAlias = psycopg.AsyncConnection[tuple[object, ...]]
PATIENCE = 30.0
"""Seconds for one transaction; a database that takes longer counts as away."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
LOCK_WAIT = "10s"
"""Who waits longer for a lock fails alone, before the whole database counts as away."""
# A host that vanishes within a transaction leaves its locks: the server's kernel notices after 15
# seconds, not after two hours. (The server's own limit for idle transactions does not count in a
# pipeline.) These settings end with the transaction, so that a pooler does not pass them on.
_LIMITS = """
select set_config('lock_timeout', %(wait)s, true), set_config('tcp_keepalives_idle', '5s', true),
    set_config('tcp_keepalives_interval', '5s', true), set_config('tcp_keepalives_count', '2', true)
"""


def pauses() -> Iterator[float]:
    """Yield seconds between tries, without end: growing, and random so that hosts take turns."""
    pause = _FIRST_PAUSE
    while True:
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause = min(pause * 2, _LONGEST_PAUSE)


class DatabaseConnections:
    """At most ``place.connections`` connections, made when they are needed."""

    def __init__(self, place: Place, report: Report) -> None:
        self.place = place
        self._report = report
        self._room = asyncio.Semaphore(place.connections)
        self._idle: list[DatabaseConnection] = []
        self._away: str | None = None
        self._reaching: asyncio.Task[None] | None = None
        self._closed = False
        self.opened = False
        """The database was fit for use: if it is not any more, services wait until it is again."""
        self.answered = time.monotonic()
        """When the database last answered (monotonic seconds)."""

    async def connect(self) -> DatabaseConnection:
        """Make a connection of its own, outside the pool.

        Raises:
            StoreUnusable: the database refuses it for a reason that stays.
            StoreError: the database is unavailable.

        """
        given = make_conninfo("", **self.place.parameters, **self.place.secret())
        try:
            return await psycopg.AsyncConnection.connect(
                given, autocommit=True, prepare_threshold=None
            )
        except psycopg.Error as error:
            raise not_connected(self.place.shown, error) from None

    def unavailable(self, doing: str) -> StoreError | None:
        """Return the error of a database that is known to be unavailable; None: it is not."""
        away = "the store is closed" if self._closed else self._away
        return None if away is None else Lost(doing, away)

    def check(self, doing: str) -> None:
        """Raise StoreError at once if the database is known to be unavailable."""
        if (away := self.unavailable(doing)) is not None:
            raise away

    @asynccontextmanager
    async def lend(
        self, doing: str, within: float = PATIENCE
    ) -> AsyncGenerator[DatabaseConnection]:
        """Lend a connection, for one transaction of at most ``within`` seconds.

        Raises:
            Lost: the database is unavailable, or the connection broke.
            StoreError: the database refused.
            StoreUnusable: the database lacks something; once it was opened: Unfit.

        """
        self.check(doing)
        async with self._room:
            self.check(doing)  # it may have gone away while we waited
            connection = await self._take()
            try:
                with translated(doing):
                    async with asyncio.timeout(within):
                        yield connection
                self.answered = time.monotonic()
            except Lost as error:
                self._lose(error)
                raise
            except StoreUnusable as error:
                if self.opened:
                    raise Unfit(doing, str(error)) from error
                raise
            finally:
                await self._give_back(connection)

    @asynccontextmanager
    async def transact(
        self, doing: str, within: float = PATIENCE
    ) -> AsyncGenerator[DatabaseConnection]:
        """Lend a connection in a transaction, in pipeline mode: only a fetch waits for the server.

        Raises:
            Lost: see ``lend``; the transaction may have been committed.
            StoreError: see ``lend``; it was not.

        """
        async with self.lend(doing, within) as connection, connection.pipeline() as pipeline:
            await connection.execute("begin")
            await connection.execute(_LIMITS, {"wait": LOCK_WAIT})
            try:
                yield connection
            except Exception:
                with contextlib.suppress(psycopg.Error):  # else the connection is closed
                    await pipeline.sync()
                    await connection.execute("rollback")
                raise
            await connection.execute("commit")

    async def _take(self) -> DatabaseConnection:
        while self._idle:
            connection = self._idle.pop()
            if not _ended(connection):
                return connection
            await connection.close()
        try:
            return await self.connect()
        except StoreError as error:
            self._lose(error)
            raise
        except StoreUnusable as error:
            if not self.opened:
                raise
            lost = Lost("connect", str(error))
            self._lose(lost)
            raise lost from error

    async def _give_back(self, connection: DatabaseConnection) -> None:
        status = connection.info.transaction_status
        if status is TransactionStatus.IDLE and self._away is None and not self._closed:
            self._idle.append(connection)
        else:
            await connection.close()

    def _lose(self, error: StoreError) -> None:
        """Take note that the database is unavailable: all idle connections are suspect."""
        if self._away is None and not self._closed:
            self._away = str(error)
            self._report(StoreTrouble(doing=f"reach {self.place.shown}", reason=str(error)))
            self._reaching = asyncio.create_task(self._reach())

    async def _reach(self) -> None:
        """Try to reach the database, with growing and spread pauses, until it answers."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()
        for pause in pauses():
            await asyncio.sleep(pause)
            try:
                connection = await self.connect()
            except RelayError as error:
                self._away = str(error)
                continue
            self._idle.append(connection)
            self._away = None
            return

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._reaching is not None:
            self._reaching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaching
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()


def _ended(connection: DatabaseConnection) -> bool:
    """Return whether the server has ended an idle connection: it has sent octets unasked."""
    if connection.closed:
        return True
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    return bool(waiting.poll(0))
