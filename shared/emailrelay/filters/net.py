"""A network filter: told the path of the content, it answers with a line."""

from pathlib import Path

from emailrelay.filters.connections import Closed, Connections, EndlessAnswer
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
    line = bytes(content) + b"\n"
    try:
        answer = await _ask(connections, place, line, fresh=False)
    except _Stale:
        answer = await _ask(connections, place, line, fresh=True)
    return answer.decode(errors="replace").rstrip("\r")


class _Stale(Exception):
    """A kept connection had been closed by the filter."""


async def _ask(connections: Connections, place: Place, line: bytes, *, fresh: bool) -> bytes:
    connection = await connections.borrow(place, fresh=fresh)
    try:
        answer = await connection.ask(line)
    except BaseException as error:
        # An answer that comes late would be taken for that to the next message.
        connection.close()
        match error:
            case Closed(said=b"") if connection.used:
                raise _Stale from error
            case Closed():
                raise NoAnswer(str(error)) from error
            case EndlessAnswer():
                raise NoAnswer("its answer is an endless line") from error
            case _:
                raise
    connections.give_back(place, connection)
    return answer
