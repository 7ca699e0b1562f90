"""Connections to network filters: kept open, each lent to one message at a time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from emailrelay.filters.place import Place, Tcp, Unix

IDLE = 60.0
"""Seconds after which a connection that nobody needs is closed."""


@dataclass(slots=True, eq=False)
class Connection:
    """An open connection. ``used``: it has served before, so its server may just be closing it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used: bool = False
    ending: asyncio.TimerHandle | None = field(default=None, repr=False)

    def close(self) -> None:
        """Close it at once."""
        if self.ending is not None:
            self.ending.cancel()
        self.writer.transport.abort()


class Connections:
    """The connections of one process to its network filters."""

    def __init__(self) -> None:
        self._idle: dict[Place, list[Connection]] = {}

    @asynccontextmanager
    async def lend(self, place: Place, *, fresh: bool = False) -> AsyncGenerator[Connection]:
        """Lend a connection that nobody else uses; left by an exception, it is closed.

        Raises:
            OSError: none can be made.

        """
        connection = None if fresh else self._take(place)
        if connection is None:
            connection = Connection(*await connect(place))
        try:
            yield connection
        except BaseException:
            # An answer that comes late would be taken for that to the next message.
            connection.close()
            raise
        self._keep(place, connection)

    def close(self) -> None:
        """Close those that are not lent."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _take(self, place: Place) -> Connection | None:
        idle = self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if connection.ending is not None:
                connection.ending.cancel()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.close()
        return None

    def _keep(self, place: Place, connection: Connection) -> None:
        connection.used = True
        loop = asyncio.get_running_loop()
        connection.ending = loop.call_later(IDLE, self._end, place, connection)
        self._idle.setdefault(place, []).append(connection)

    def _end(self, place: Place, connection: Connection) -> None:
        self._idle[place].remove(connection)
        connection.close()


async def connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection; raise OSError."""
    match place:
        case Tcp(host, port):
            return await asyncio.open_connection(host, port)
        case Unix(path):
            return await asyncio.open_unix_connection(path)
