"""The remains of dead processes, which any other removes: drafts, waits, slots, notices, days."""

from collections.abc import Awaitable, Callable
from typing import LiteralString

from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.link.trouble import Unfit
from emailrelay.store.postgres.message import notice, past
from emailrelay.store.postgres.schema import days

_SLICE = 5000
"""Rows in one transaction."""
_DRAFTS = 10
"""Drafts in one transaction: their contents may be large."""
_SLICES = 50
"""Transactions of one kind in one sweep; the next sweep goes on."""
# The draft goes with its content: one whose lease ends meanwhile keeps both.
_OLD_DRAFTS = """
with old as materialized (
    select id from emailrelay.draft where lease_until < statement_timestamp()
    limit %(most)s for update skip locked
), gone as (
    delete from emailrelay.draft d using old where d.id = old.id returning d.id
), emptied as (
    delete from emailrelay.body b using gone where b.message = gone.id
    and not exists (select 1 from emailrelay.message m where m.id = b.message)
)
select count(*) from gone
"""
_SWEEPS: tuple[LiteralString, ...] = (
    "delete from emailrelay.awaited where wait_until < statement_timestamp() - interval '1 hour'",
    "delete from emailrelay.slot where lease_until < statement_timestamp() - interval '1 hour'",
    "delete from emailrelay.slot_wish where wish_until < statement_timestamp()",
)
# The tables of days that are over are dropped whole, without this.
_OLD_HISTORY = """
select max(ended_at), count(*) from (
    select ended_at from emailrelay.history
    where ended_at < statement_timestamp() - interval '8 days' order by ended_at limit %(most)s
) as old
"""
# With the time as a value the server chooses the index.
_FORGET = "delete from emailrelay.history where ended_at <= %(until)s::timestamptz"


async def sweep(database: Database) -> None:
    """Remove what dead processes left.

    Raises:
        StoreError: the database cannot do it now.

    """
    await _in_slices(database, _old_drafts, _DRAFTS)
    for statement in _SWEEPS:
        async with database.connections.transact("clean up") as connection:
            await connection.execute(statement)
    await _in_slices(database, _old_history, _SLICE)
    await notice.relay_left(database)
    await past.trim(database)
    try:
        async with database.connections.transact("change the days of the history") as connection:
            await days.keep(connection, database.clock())
    except (StoreUnusable, Unfit):
        return  # this user does not own the tables: ``history_rest`` takes all, and is swept
    except StoreError as error:
        database.trouble("change the days of the history", error)


async def _in_slices(
    database: Database, remove: Callable[[DatabaseConnection, int], Awaitable[int]], most: int
) -> None:
    for _ in range(_SLICES):
        async with database.connections.transact("clean up") as connection:
            removed = await remove(connection, most)
        if removed < most:
            return


async def _old_drafts(connection: DatabaseConnection, most: int) -> int:
    found = await (await connection.execute(_OLD_DRAFTS, {"most": most})).fetchone()
    return 0 if found is None else int(str(found[0]))


async def _old_history(connection: DatabaseConnection, most: int) -> int:
    found = await (await connection.execute(_OLD_HISTORY, {"most": most})).fetchone()
    until, count = found or (None, 0)
    if until is not None:
        await connection.execute(_FORGET, {"until": until})
    return int(str(count))
