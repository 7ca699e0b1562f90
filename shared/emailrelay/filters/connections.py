"""Connections to services that answer each line with a line: network filters, address verifiers.

A connection stays open between requests and serves one request at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import cast

from emailrelay.errors import RelayError
from emailrelay.filters.waits import FilterTooLate, Waits
from emailrelay.host_port import HostPort, ServerAddress, UnixPath
from emailrelay.running_loop import running_loop

IDLE = 60.0
"""Seconds after which an idle connection is closed."""
_LONGEST = 64 * 1024
"""The most octets of an answer."""


class NoFilterAnswer(RelayError):
    """The service was reached but gave no answer."""


class _Closed(Exception):
    """The service closed the connection."""

    def __init__(self, said: bytes) -> None:
        super().__init__("it closed the connection")
        self.said = said
        """The part of the answer that had arrived."""


class _Stale(Exception):
    """The service had closed an idle connection."""


class Connection(asyncio.Protocol):
    """An open connection to a filter that answers each line with one.

    A protocol class: with the reader and writer of a stream an answer costs twice as much.
    """

    def __init__(self) -> None:
        self.used = False
        """True if it has served before, so that its server may be closing it."""
        self.kept_at = 0.0
        """Time of its last use, by the loop's clock."""
        self._transport: asyncio.Transport | None = None
        self._said = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        # uvloop's transports do not derive from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        """See ``asyncio.Protocol``; the loop calls this also for an end without an error."""
        self._transport = None
        self._hear()

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        self._said += data
        if self._answer is None and len(self._said) > _LONGEST:
            self.close()  # unsolicited octets
        self._hear()

    @property
    def silent(self) -> bool:
        """True if it is open, and the service has sent nothing unasked."""
        return self._transport is not None and not self._said

    async def ask(self, line: bytes, waits: Waits, until: float | None) -> bytes:
        """Send a line; return the answer without its LF.

        Raises:
            FilterTooLate: it has not answered until this time of the loop's clock, if one is given.
            _Closed: the service does not answer.
            NoFilterAnswer: its answer is too long.

        """
        if self._transport is None:
            raise _Closed(b"")
        self._answer = running_loop().create_future()
        self._transport.write(line)
        self._hear()  # it may have sent something already
        try:
            if until is None:
                return await self._answer
            return await waits.wait(self._answer, until)
        finally:
            self._answer = None

    def close(self) -> None:
        """Close it at once."""
        if self._transport is not None:
            self._transport.abort()

    def _hear(self) -> None:
        """Check whether the octets received are the awaited answer."""
        if self._answer is None or self._answer.done():
            return
        end = self._said.find(b"\n")
        if 0 <= end <= _LONGEST:
            self._answer.set_result(bytes(self._said[:end]))
            del self._said[: end + 1]
        elif len(self._said) > _LONGEST:
            self._answer.set_exception(NoFilterAnswer("its answer is an endless line"))
        elif self._transport is None:
            self._answer.set_exception(_Closed(bytes(self._said)))


class Connections:
    """The connections of one process, by server; ``connect`` opens one in another way."""

    def __init__(
        self,
        connect: Callable[[ServerAddress], Awaitable[Connection]] | None = None,
        waits: Waits | None = None,
    ) -> None:
        self._connect, self._waits = connect or _connect, waits or Waits()
        self._idle: dict[ServerAddress, list[Connection]] = {}
        """By server; the one idle for longest comes first."""
        self._ending: asyncio.TimerHandle | None = None

    async def ask(self, server: ServerAddress, line: bytes, until: float | None = None) -> bytes:
        """Send a line with its LF; return the answer without one.

        An idle connection may turn out to be closed. It is replaced once, so the service may see a
        line twice.

        Raises:
            FilterTooLate: it has not answered until this time of the loop's clock, if one is given.
            OSError: the service cannot be reached.
            NoFilterAnswer: it closed the connection, or its answer is too long.

        """
        try:
            return await self._ask(server, line, until, fresh=False)
        except _Stale:
            return await self._ask(server, line, until, fresh=True)

    async def _ask(
        self, server: ServerAddress, line: bytes, until: float | None, *, fresh: bool
    ) -> bytes:
        connection = None if fresh else self._borrow(server)
        if connection is None:
            connection = await self._connected(server, until)
        try:
            answer = await connection.ask(line, self._waits, until)
        except BaseException as error:
            # Otherwise a late answer would pass for the answer to the next request.
            connection.close()
            match error:
                case _Closed(said=b"") if connection.used:
                    raise _Stale from error
                case _Closed():
                    raise NoFilterAnswer(str(error)) from error
                case _:
                    raise
        self._give_back(server, connection)
        return answer

    def _borrow(self, server: ServerAddress) -> Connection | None:
        """Return an open connection that no other request uses; None: there is none."""
        idle = self._idle.get(server, [])
        while idle:
            connection = idle.pop()
            if connection.silent:
                return connection
            connection.close()
        return None

    async def _connected(self, server: ServerAddress, until: float | None) -> Connection:
        limit = asyncio.timeout_at(until)
        try:
            async with limit:
                return await self._connect(server)
        except OSError as error:
            if limit.expired():
                raise FilterTooLate(str(error)) from error
            raise

    def _give_back(self, server: ServerAddress, connection: Connection) -> None:
        """Keep a connection for the next request."""
        loop = running_loop()
        connection.used, connection.kept_at = True, loop.time()
        self._idle.setdefault(server, []).append(connection)
        if self._ending is None:
            self._ending = loop.call_later(IDLE, self._end_idle)

    def close(self) -> None:
        """Close the idle connections."""
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        _close(connection for idle in self._idle.values() for connection in idle)
        self._idle.clear()

    def _end_idle(self) -> None:
        """Close the connections idle for too long; set the timer for the next."""
        loop = asyncio.get_running_loop()
        self._ending, then = None, loop.time() - IDLE
        for place, idle in self._idle.items():
            _close(connection for connection in idle if connection.kept_at <= then)
            self._idle[place] = [connection for connection in idle if connection.kept_at > then]
        left = [idle[0].kept_at for idle in self._idle.values() if idle]
        if left:
            self._ending = loop.call_at(min(left) + IDLE, self._end_idle)


def _close(connections: Iterable[Connection]) -> None:
    for connection in connections:
        connection.close()


async def _connect(place: ServerAddress) -> Connection:
    loop = asyncio.get_running_loop()
    match place:
        case HostPort(host, port):
            return (await loop.create_connection(Connection, host, int(port)))[1]
        case UnixPath(path):
            return (await loop.create_unix_connection(Connection, path))[1]
