"""A network filter: told the path of the content, it answers with a line."""

import asyncio
from pathlib import Path

from emailrelay.filters.connections import Connections
from emailrelay.filters.place import Place


class NoAnswer(Exception):
    """The filter was reached but gave no line that can be one."""


async def ask(connections: Connections, place: Place, content: Path) -> str:
    """Send a path; return the answering line without its end.

    A kept connection that turns out to be closed is replaced once: the filter may see a path twice.

    Raises:
        OSError: the filter cannot be reached.
        NoAnswer: it closed the connection, or its line is too long.

    """
    try:
        return await _ask(connections, place, content, fresh=False)
    except _Stale:
        return await _ask(connections, place, content, fresh=True)


class _Stale(Exception):
    """A kept connection had been closed by the filter."""


async def _ask(connections: Connections, place: Place, content: Path, *, fresh: bool) -> str:
    async with connections.lend(place, fresh=fresh) as connection:
        try:
            connection.writer.write(bytes(content) + b"\n")
            await connection.writer.drain()
            line = await connection.reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            said = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
            if connection.used and not said:
                raise _Stale from error
            raise NoAnswer("it closed the connection") from error
        except asyncio.LimitOverrunError as error:
            raise NoAnswer("its answer is an endless line") from error
        return line.decode(errors="replace").rstrip("\r\n")
