"""The open connections to milters of one process; each serves one message at a time."""

import asyncio
from typing import NamedTuple

from emailrelay.filters.milter.connection import MilterConnection, opened
from emailrelay.host_port import ServerAddress
from emailrelay.running_loop import running_loop

_IDLE = 30.0
"""Seconds after which an idle connection is closed."""
_MOST = 16
"""The most idle connections; a milter may have a thread for each."""


class MilterSession(NamedTuple):
    """A milter, and the facts about a client. Its messages can follow each other on a connection.

    Other clients need another one: not all milters know the command for the next client.
    """

    place: ServerAddress
    client: bytes
    """The packets with which the dialogue begins."""


class MilterConnections:
    """Connections that wait for the next message of their client."""

    def __init__(self) -> None:
        self._idle: list[tuple[MilterSession, MilterConnection]] = []
        """The one idle for longest comes first."""
        self._ending: asyncio.TimerHandle | None = None

    async def borrow(self, session: MilterSession, *, fresh: bool = False) -> MilterConnection:
        """Return a connection that no other message uses; ``fresh``: a new one in any case.

        Raises:
            OSError: the milter cannot be reached.
            MilterError: it is not a milter, or has another version.

        """
        for n in range(len(self._idle) - 1, -1, -1):
            if not fresh and self._idle[n][0] == session:
                _, connection = self._idle.pop(n)
                if connection.silent:
                    return connection
                connection.abort()
        return await opened(session.place)

    def give_back(self, session: MilterSession, connection: MilterConnection) -> None:
        """Keep a connection for the next message of this client."""
        loop = running_loop()
        connection.used, connection.kept_at = True, loop.time()
        self._idle.append((session, connection))
        if len(self._idle) > _MOST:
            self._idle.pop(0)[1].end()
        if self._ending is None:
            self._ending = loop.call_later(_IDLE, self._end_idle)

    def close(self) -> None:
        """Close the idle connections."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        while self._idle:
            self._idle.pop()[1].end()

    def _end_idle(self) -> None:
        """Close the connections idle for too long; set the timer for the next."""
        loop = asyncio.get_running_loop()
        self._ending, then = None, loop.time() - _IDLE
        while self._idle and self._idle[0][1].kept_at <= then:
            self._idle.pop(0)[1].end()
        if self._idle:
            self._ending = loop.call_at(self._idle[0][1].kept_at + _IDLE, self._end_idle)
