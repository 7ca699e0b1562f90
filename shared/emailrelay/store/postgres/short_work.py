"""A database, opened for one short job of a command: no sweep, no heartbeat."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from emailrelay.events.event import Report, report_nothing
from emailrelay.store.postgres.link import heartbeat, place
from emailrelay.store.postgres.link.clock import DatabaseClock
from emailrelay.store.postgres.link.connections import DatabaseConnections
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.schema import versions


@asynccontextmanager
async def opened(url: str, report: Report = report_nothing) -> AsyncGenerator[Database]:
    """Open a database for the block.

    Raises:
        StoreUnusable: there is no such store.
        StoreError: it is unavailable.

    """
    where, clock = place.parse(url), DatabaseClock()
    connections = DatabaseConnections(where, report)
    try:
        async with connections.lend(f"open {where.shown}") as connection:
            await versions.check(connection, where.allow)
        await heartbeat.beat(connections, clock)
        yield Database(connections, clock, report)
    finally:
        await connections.close()
