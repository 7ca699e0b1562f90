"""The queue in a database, read in pages by few statements."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from typing import TypeVar, cast
from uuid import UUID

from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.events.event import Report
from emailrelay.queue_id import QueueId, arrived_at
from emailrelay.queue_uuid import from_uuid, uuid_of
from emailrelay.schedule import FARTHEST
from emailrelay.stage import Stage
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message import operator
from emailrelay.store.postgres.message.content_chunk import read_chunk
from emailrelay.store.postgres.message.row import COLUMNS, Row, read
from emailrelay.store.postgres.short_work import opened
from emailrelay.store.queue_view import Listed, QueueEntry, QueueView, StageCount

_T = TypeVar("_T")
_AT_ONCE = 200
_NAMED = f"select {COLUMNS} from emailrelay.message m where m.id = any(%(ids)s) order by m.id"
# ``waits``, in SQL. The least id is the oldest: it begins with the time.
_COUNT = """
select stage, later, count(*), sum(size), min(id::text) from (
    select stage, id, size, stage in ('unfiltered', 'ready')
        and run_at > to_timestamp(%(now)s) and run_at <= to_timestamp(%(farthest)s) as later
    from emailrelay.message
) m group by stage, later
"""


class PostgresView(QueueView):
    """See ``QueueView``."""

    def __init__(self, url: str, report: Report) -> None:
        """Connect.

        Raises:
            StoreUnusable: there is no such store.
            StoreError: it is unavailable.

        """
        self._runner, self._open = asyncio.Runner(), AsyncExitStack()
        try:
            self._database: Database = self._run(
                self._open.enter_async_context(opened(url, report))
            )
        except BaseException:
            self.close()
            raise

    def _run(self, work: Coroutine[object, object, _T]) -> _T:
        return self._runner.run(work)

    def listing(
        self, stages: Sequence[Stage] = tuple(Stage), ids: Collection[QueueId] = ()
    ) -> Iterator[Listed]:
        """See ``QueueView.listing``."""
        if ids:
            return (each for each in self._named(ids) if each.stage in stages)
        return self._each(operator.listing(self._database, stages))

    def _named(self, ids: Iterable[QueueId]) -> Iterator[Listed]:
        waiting = iter(ids)
        while part := list(islice(waiting, _AT_ONCE)):
            for row in self._run(self._rows(part)):
                yield Listed(id=row.id, stage=row.stage, since=row.run_at, size=row.size)

    def _each(self, found: AsyncIterator[Listed]) -> Iterator[Listed]:
        """Yield what a coroutine finds, many for each entry into the event loop."""

        async def some() -> list[Listed]:
            part = list[Listed]()
            async for each in found:
                part.append(each)
                if len(part) == _AT_ONCE:
                    break
            return part

        while part := self._run(some()):
            yield from part

    def entries(self, listed: Iterable[Listed]) -> Iterator[QueueEntry]:
        """See ``QueueView.entries``."""
        waiting = iter(listed)
        while part := list(islice(waiting, _AT_ONCE)):
            yield from map(_entry, self._run(self._rows([message.id for message in part])))

    def counts(self, now: float, *, names_only: bool = False) -> Iterable[StageCount]:  # noqa: ARG002 - it is quick
        """See ``QueueView.counts``: by one query."""
        return self._run(self._counts(now))

    async def _counts(self, now: float) -> list[StageCount]:
        async with self._database.connections.lend("count messages") as connection:
            cursor = await connection.execute(_COUNT, {"now": now, "farthest": now + FARTHEST})
            return [
                StageCount(
                    stage=Stage(str(stage)),
                    later=bool(later),
                    messages=cast("int", messages),
                    octets=int(cast("int", octets)),
                    oldest=arrived_at(from_uuid(UUID(str(first)))) or now,
                )
                for stage, later, messages, octets, first in await cursor.fetchall()
            ]

    async def _rows(self, ids: Iterable[QueueId]) -> list[Row]:
        uuids = [uuid for message in ids if (uuid := uuid_of(message)) is not None]
        async with (
            self._database.connections.lend("read messages") as connection,
            connection.cursor(binary=True) as cursor,
        ):
            await cursor.execute(_NAMED.encode(), {"ids": uuids})
            return [read(found) for found in await cursor.fetchall()]

    def content(self, message: QueueId) -> Iterator[bytes] | None:
        """See ``QueueView.content``."""
        rows = self._run(self._rows([message]))
        return self._chunks(rows[0]) if rows else None

    def _chunks(self, row: Row) -> Iterator[bytes]:
        given, n = 0, 0
        while given < row.size:
            chunk = self._run(self._chunk(row, n))
            yield chunk
            given, n = given + len(chunk), n + 1

    async def _chunk(self, row: Row, n: int) -> bytes:
        chunk = await read_chunk(self._database, row.uuid, n)
        if not chunk:
            raise StoreError(f"read {row.id}", f"chunk {n} of its content is missing")
        return chunk

    def close(self) -> None:
        """See ``QueueView.close``."""
        try:
            self._run(self._open.aclose())
        finally:
            self._runner.close()


def _entry(row: Row) -> QueueEntry:
    listed = Listed(id=row.id, stage=row.stage, since=row.run_at, size=row.size)
    try:
        return QueueEntry(listed, row.envelope(), row.entries())
    except DamagedMessage as error:
        return QueueEntry(listed, None, (), str(error))
