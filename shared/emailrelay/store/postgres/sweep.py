"""The remains of dead processes, which any other removes: drafts, waits, slots, notices, days."""

from typing import LiteralString

from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.link.trouble import Unfit
from emailrelay.store.postgres.message import notice, past
from emailrelay.store.postgres.schema import days

_SWEEPS: tuple[LiteralString, ...] = (
    """
    delete from emailrelay.body where message in
        (select id from emailrelay.draft where lease_until < statement_timestamp())
    and not exists (select 1 from emailrelay.message m where m.id = body.message)
    """,
    "delete from emailrelay.draft where lease_until < statement_timestamp()",
    "delete from emailrelay.awaited where wait_until < statement_timestamp() - interval '1 hour'",
    "delete from emailrelay.slot where lease_until < statement_timestamp() - interval '1 hour'",
    "delete from emailrelay.slot_wish where wish_until < statement_timestamp()",
    "delete from emailrelay.history where ended_at < statement_timestamp() - interval '7 days'",
)


async def sweep(database: Database) -> None:
    """Remove what dead processes left.

    Raises:
        StoreError: the database cannot do it now.

    """
    for statement in _SWEEPS:
        async with database.connections.transact("clean up") as connection:
            await connection.execute(statement)
    await notice.relay_left(database)
    await past.trim(database)
    try:
        async with database.connections.transact("change the days of the history") as connection:
            await days.keep(connection, database.clock())
    except (StoreUnusable, Unfit):
        return  # this user does not own the tables: ``history_rest`` takes all, and is swept
    except StoreError as error:
        database.trouble("change the days of the history", error)
