"""The open connections to milters of one process; each serves one message at a time."""

import asyncio

from emailrelay.filters.connections import IDLE
from emailrelay.filters.milter.connection import MilterConnection, opened
from emailrelay.host_port import ServerAddress


class MilterConnections:
    """Connections that wait for the next message, by milter."""

    def __init__(self) -> None:
        self._idle: dict[ServerAddress, list[MilterConnection]] = {}
        """By milter; the one idle for longest comes first."""
        self._ending: asyncio.TimerHandle | None = None

    async def borrow(self, place: ServerAddress, *, fresh: bool = False) -> MilterConnection:
        """Return a connection that no other message uses; ``fresh``: a new one in any case.

        Raises:
            OSError: the milter cannot be reached.
            MilterError: it is no milter, or has another version.

        """
        idle = [] if fresh else self._idle.get(place, [])
        while idle:
            connection = idle.pop()
            if connection.silent:
                return connection
            connection.abort()
        return await opened(place)

    def give_back(self, place: ServerAddress, connection: MilterConnection) -> None:
        """Keep a connection for the next message, if its milter can serve a further client."""
        if connection.terms is None or not connection.terms.can_go_on:
            connection.end()
            return
        loop = asyncio.get_running_loop()
        connection.used, connection.kept_at = True, loop.time()
        self._idle.setdefault(place, []).append(connection)
        if self._ending is None:
            self._ending = loop.call_later(IDLE, self._end_idle)

    def close(self) -> None:
        """Close the idle connections."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        for idle in self._idle.values():
            for connection in idle:
                connection.end()
        self._idle.clear()

    def _end_idle(self) -> None:
        """Close the connections idle for too long; set the timer for the next."""
        loop = asyncio.get_running_loop()
        self._ending, then = None, loop.time() - IDLE
        for place, idle in self._idle.items():
            for connection in idle:
                if connection.kept_at <= then:
                    connection.end()
            self._idle[place] = [each for each in idle if each.kept_at > then]
        left = [idle[0].kept_at for idle in self._idle.values() if idle]
        if left:
            self._ending = loop.call_at(min(left) + IDLE, self._end_idle)
