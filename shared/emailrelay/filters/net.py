"""A network filter: it gets the path of the content and answers with a line."""

from pathlib import Path

from emailrelay.filters.connections import Connections
from emailrelay.host_port import ServerAddress


async def ask(connections: Connections, server: ServerAddress, content: Path) -> str:
    """Send a path; return the answer without its line end.

    Raises:
        OSError: the filter cannot be reached.
        NoFilterAnswer: it closed the connection, or its line is too long.

    """
    answer = await connections.ask(server, bytes(content) + b"\n")
    return answer.decode(errors="replace").rstrip("\r")
