"""NOTIFY, which shortens the polling of the feeds: one in a while for all mail of a process.

A NOTIFY in each commit would leave a quarter of the commits.
"""

import asyncio
import contextlib
from collections.abc import Callable

import psycopg

from emailrelay.errors import RelayError, StoreError
from emailrelay.stage import Stage
from emailrelay.store.postgres.link.connections import (
    DatabaseConnection,
    DatabaseConnections,
    pauses,
)

_PAUSE = 0.1
"""Seconds between two announcements of one process."""
_CHANNEL = "emailrelay"
_SAY = "select pg_notify(%(channel)s, %(stages)s)"
_HEAR = "listen emailrelay"


class DatabaseNotifier:
    """Announces mail to other processes, and tells ``heard`` the stages that they announce."""

    def __init__(self, connections: DatabaseConnections, heard: Callable[[Stage], None]) -> None:
        self._connections, self._heard = connections, heard
        self._pending: set[Stage] = set()
        self._saying: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None

    def say(self, stage: Stage) -> None:
        """Announce mail at a stage, soon."""
        self._pending.add(stage)
        if self._saying is None or self._saying.done():
            self._saying = asyncio.create_task(self._say())

    async def _say(self) -> None:
        while self._pending:
            stages, self._pending = self._pending, set()
            with contextlib.suppress(StoreError):  # the feeds poll
                async with self._connections.lend("announce mail") as connection:
                    await connection.execute(
                        _SAY, {"channel": _CHANNEL, "stages": " ".join(sorted(stages))}
                    )
            await asyncio.sleep(_PAUSE)

    async def hear(self) -> None:
        """Listen from now on, over a connection of its own; wait until the first try is over."""
        if self._hearing is None:
            tried = asyncio.Event()
            self._hearing = asyncio.create_task(self._hear(tried))
            await tried.wait()

    async def _hear(self, tried: asyncio.Event) -> None:
        pause = pauses()
        while True:
            try:
                async with await self._connections.connect() as connection:
                    await connection.execute(_HEAR)
                    pause = pauses()
                    for stage in Stage:  # announced while nothing listened
                        self._heard(stage)
                    tried.set()
                    await self._pass_on(connection)
            except (RelayError, psycopg.Error):  # the feeds poll
                tried.set()
            await asyncio.sleep(next(pause))

    async def _pass_on(self, connection: DatabaseConnection) -> None:
        async for notice in connection.notifies():
            for stage in Stage:
                if stage.value in notice.payload.split():
                    self._heard(stage)

    async def close(self) -> None:
        """Stop both."""
        tasks = [task for task in (self._saying, self._hearing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
