"""The history in the database: records in a table with a table for each day."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import LiteralString, cast
from uuid import UUID

from emailrelay import envelope_format, history_record
from emailrelay.envelope import NULL_SENDER, Envelope
from emailrelay.errors import DamagedMessage, StoreError, StoreUnusable
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import EndedMessage, PastMessage
from emailrelay.queue_uuid import to_uuid, uuid_of
from emailrelay.store.mail_history import NO_HISTORY, HistoryBounds, MailHistory, SearchStep
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.link.trouble import Unfit
from emailrelay.store.postgres.message.row import Row
from emailrelay.store.postgres.schema import days
from emailrelay.store.transition import Change

_BOUNDS = "select days, octets from emailrelay.history_bounds"
_MAY_ADD = "select has_table_privilege('emailrelay.past_message', 'insert')"
_KEEP = """
insert into emailrelay.history_bounds (days, octets) values (%(days)s, %(octets)s)
on conflict (only_row) do update set days = excluded.days, octets = excluded.octets,
    paused_until = null
where (history_bounds.days, history_bounds.octets) <> (excluded.days, excluded.octets)
"""
_ADD = """
insert into emailrelay.past_message (id, ended_at, record)
select d.id, statement_timestamp(), d.record
from unnest(%(ids)s::uuid[], %(records)s::text[]) as d (id, record)
where exists (select 1 from emailrelay.history_bounds b where b.days > 0 and b.octets > 0
    and (b.paused_until is null or b.paused_until <= statement_timestamp()))
"""
_OVER = """
delete from emailrelay.past_message
where ended_at < date_trunc('day', statement_timestamp() at time zone 'UTC') at time zone 'UTC'
    - make_interval(days => %(days)s)
"""
_PAUSE = """
update emailrelay.history_bounds set paused_until =
    (date_trunc('day', statement_timestamp() at time zone 'UTC') + interval '1 day')
    at time zone 'UTC'
"""
_BY_ID = "select record from emailrelay.past_message where id = %(id)s order by ended_at desc"
# The records are ASCII: with this collation, lower() and strpos() work on octets.
_OF_DAY: LiteralString = """
select ended_at, id, record from emailrelay.past_message
where ended_at >= %(first)s and ended_at < %(last)s
and (ended_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
and strpos(lower(record collate "C"), %(needle)s collate "C") > 0
order by ended_at desc, id desc limit %(most)s
"""
_ENDS_OF: LiteralString = """
select ended_at, id, left(record, 300) from emailrelay.past_message
where ended_at >= %(first)s and (ended_at, id) < (%(before)s::timestamptz, %(before_id)s::uuid)
order by ended_at desc, id desc limit %(most)s
"""
_ENDS = 20_000
_AT_ONCE = 2000
_WITHIN = 600.0
"""Seconds for the search of one day."""
_LAST = UUID(int=(1 << 128) - 1)
_TABLE = "past_message"


async def add(
    database: Database, connection: DatabaseConnection, messages: Sequence[PastMessage]
) -> None:
    """Add the records of messages that leave in this transaction."""
    if database.records and messages:
        ids = [to_uuid(message.id) for message in messages]
        records = [history_record.write(message).decode().rstrip() for message in messages]
        await connection.execute(_ADD, {"ids": ids, "records": records})


def of_row(row: Row, change: Change, now: float) -> PastMessage:
    """Return the record of a message that leaves by a change without a claim."""
    try:
        envelope = row.envelope()
    except DamagedMessage:
        envelope = envelope_format.salvage(row.head) or Envelope(NULL_SENDER)
    entries = (*row.entries(), *change.entries)
    return history_record.past(row.id, envelope, entries, now=now, end=change.end, size=row.size)


async def read_bounds(database: Database) -> HistoryBounds:
    """Read the bounds, and note whether records are wanted."""
    async with database.connections.lend("read the bounds of the history") as connection:
        cursor = await connection.execute(_BOUNDS)
        found = await cursor.fetchone()
        may_add = await (await connection.execute(_MAY_ADD)).fetchone()
    bounds = NO_HISTORY if found is None else HistoryBounds(*map(int, map(str, found)))
    # A settlement would fail with its record.
    database.records = not bounds.off and may_add == (True,)
    return bounds


async def trim(database: Database) -> None:
    """Make the tables of the days ahead, and remove what is beyond the bounds.

    Raises:
        StoreError: the database cannot do it now.

    """
    try:
        bounds = await read_bounds(database)
        kept = -1 if bounds.off else bounds.days
        async with database.connections.transact("trim the history") as connection:
            await connection.execute(_OVER, {"days": min(kept, 100_000)})
    except (StoreUnusable, Unfit) as error:
        database.records = False
        database.trouble("keep a history", error)
        return
    try:
        async with database.connections.transact("change the days of the history") as connection:
            left = await days.keep(
                connection, database.clock(), table=_TABLE, days=kept, octets=bounds.octets
            )
            if left > bounds.octets > 0:
                await connection.execute(_PAUSE)
    except (StoreUnusable, Unfit):
        return  # this user does not own the tables: the rest takes all
    except StoreError as error:
        database.trouble("change the days of the history", error)
        return
    if left > bounds.octets > 0:
        database.trouble(
            "write the history",
            f"the records of today take {left} octets; history_size is {bounds.octets}: it goes on"
            " tomorrow",
        )


class PostgresHistory(MailHistory):
    """See ``MailHistory``. A record is written in the transaction in which its message leaves."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, bounds: HistoryBounds) -> None:
        """See ``MailHistory.keep``."""
        given = {"days": bounds.days, "octets": bounds.octets}
        doing = "set the bounds of the history"
        try:
            async with self._database.connections.lend(doing) as connection:
                await connection.execute(_KEEP, given)
        except StoreUnusable as error:
            raise StoreError(doing, str(error)) from error
        await trim(self._database)

    async def bounds(self) -> HistoryBounds:
        """See ``MailHistory.bounds``."""
        return await read_bounds(self._database)

    async def find(
        self, wanted: HistoryQuery, tell: Callable[[SearchStep], None] = lambda _step: None
    ) -> AsyncIterator[PastMessage]:
        """See ``MailHistory.find``."""
        if wanted.id is not None:
            for message in await self._of_id(wanted):
                yield message
            return
        bounds = await read_bounds(self._database)
        searched = list(_days(self._database.clock(), bounds.days, wanted.since))
        for done, day in enumerate(searched, 1):
            tell(SearchStep(place=f"{day:%Y-%m-%d}", done=done, total=len(searched)))
            async for message in self._of_day(day, wanted):
                yield message

    async def _of_id(self, wanted: HistoryQuery) -> list[PastMessage]:
        uuid = None if wanted.id is None else uuid_of(wanted.id)
        if uuid is None:
            return []
        async with self._database.connections.lend("look into the history") as connection:
            cursor = await connection.execute(_BY_ID, {"id": uuid})
            rows = await cursor.fetchall()
        return list(_matching((record for (record,) in rows), wanted))

    async def _of_day(self, day: dt.datetime, wanted: HistoryQuery) -> AsyncIterator[PastMessage]:
        last = day + dt.timedelta(days=1)
        before, before_id = last, _LAST
        while True:
            parameters = {
                "first": day,
                "last": last,
                "before": before,
                "before_id": before_id,
                "needle": wanted.needle.decode(),
                "most": _AT_ONCE,
            }
            async with self._database.connections.lend("search the history", _WITHIN) as connection:
                cursor = await connection.execute(_OF_DAY, parameters)
                rows = await cursor.fetchall()
            for message in _matching((record for _, _, record in rows), wanted):
                yield message
            if len(rows) < _AT_ONCE:
                return
            before, before_id = cast("dt.datetime", rows[-1][0]), cast("UUID", rows[-1][1])

    async def ends(self, since: float) -> AsyncIterator[EndedMessage]:
        """See ``MailHistory.ends``."""
        before, before_id = dt.datetime.max.replace(tzinfo=dt.UTC), _LAST
        first = dt.datetime.fromtimestamp(since, dt.UTC)
        while True:
            parameters = {"first": first, "before": before, "before_id": before_id, "most": _ENDS}
            async with self._database.connections.lend("count the history", _WITHIN) as connection:
                rows = await (await connection.execute(_ENDS_OF, parameters)).fetchall()
            heads = "\n".join(str(head) for _, _, head in rows)
            for ended in history_record.ends_in(heads.encode()):
                yield ended
            if len(rows) < _ENDS:
                return
            before, before_id = cast("dt.datetime", rows[-1][0]), cast("UUID", rows[-1][1])


def _matching(records: Iterator[object], wanted: HistoryQuery) -> Iterator[PastMessage]:
    for record in records:
        message = history_record.read(str(record).encode())
        if message is not None and wanted.matches(message):
            yield message


def _days(now: float, kept: int, since: float | None) -> Iterator[dt.datetime]:
    """Yield the beginnings of the days to search, newest first; clocks may differ by a day."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    for back in range(-1, min(kept, 36_500) + 1):
        day = today - dt.timedelta(days=back)
        yield day
        if since is not None and day.timestamp() <= since:
            return
