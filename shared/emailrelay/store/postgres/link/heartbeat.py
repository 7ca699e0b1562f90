"""Regular questions that tell an idle process the database's time, and whether it answers."""

import asyncio
import contextlib
import time
from typing import cast

from emailrelay.errors import RelayError
from emailrelay.store.postgres.link.clock import DatabaseClock
from emailrelay.store.postgres.link.connections import DatabaseConnections

_PAUSE = 1.0
"""Seconds without any answer after which the database is asked."""
_PATIENCE = 5.0
"""Seconds for its answer."""
_CLOCK_GETS_OLD = 60.0
_CLOCK = "select extract(epoch from clock_timestamp())::float8"


async def beat(connections: DatabaseConnections, clock: DatabaseClock) -> None:
    """Ask the database for its time.

    Raises:
        StoreError: it does not answer.

    """
    async with connections.lend("read the clock", within=_PATIENCE) as connection:
        asked = time.monotonic()
        found = await (await connection.execute(_CLOCK)).fetchone()
        if found is not None:
            clock.learn(cast("float", found[0]), asked)


async def keep_beating(connections: DatabaseConnections, clock: DatabaseClock) -> None:
    """Probe the database whenever it has been silent for a while. Never returns."""
    read = time.monotonic()
    while True:
        await asyncio.sleep(_PAUSE)
        now = time.monotonic()
        if now - connections.answered >= _PAUSE or now - read >= _CLOCK_GETS_OLD:
            read = now
            with contextlib.suppress(RelayError):  # the connections have reported it
                await beat(connections, clock)
