"""An HTTP server for short answers to GET, with limits on the size, number and time of requests.

h11 reads and writes HTTP; one request for each connection.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeAlias

import h11

MOST = 32
"""Connections at a time; a further one ends the oldest, which may be that of a slow client."""
_SECONDS = 15.0
"""The longest time of a connection. Half of it is for the request."""
_LARGEST = 8 * 1024
"""The most octets of a request."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


Answering: TypeAlias = Callable[[str, str], Awaitable[HttpAnswer]]
"""Answers a request for a path; the second argument is the header field Accept."""


class HttpServer:
    """Serves on sockets that listen already. An ``async with`` block."""

    def __init__(self, sockets: Iterable[socket.socket], answering: Answering) -> None:
        self._sockets, self._answering = tuple(sockets), answering
        self._servers: list[asyncio.Server] = []
        self._open = dict[asyncio.StreamWriter, None]()  # oldest first

    async def __aenter__(self) -> None:
        """Begin to accept."""
        for listening in self._sockets:
            own = listening.dup()
            start = (
                asyncio.start_unix_server if own.family is socket.AF_UNIX else asyncio.start_server
            )
            self._servers.append(await start(self._serve, sock=own, limit=_LARGEST))

    async def __aexit__(self, *_: object) -> None:
        """Accept no more, and drop the connections."""
        for server in self._servers:
            server.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(_SECONDS):
                await self._answer(reader, writer)
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):
            pass  # slow, or gone: it asks again
        finally:
            self._open.pop(writer, None)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST)
        try:
            async with asyncio.timeout(_SECONDS / 2):
                request = await _request(connection, reader)
            answer = await self._answer_to(request)
            has_body = request.method != b"HEAD"
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            answer, has_body = HttpAnswer(status, f"{status.phrase}\n".encode()), True
        if connection.our_state is h11.MUST_CLOSE:
            return
        writer.write(_written(connection, answer, has_body=has_body))
        await writer.drain()

    async def _answer_to(self, request: h11.Request) -> HttpAnswer:
        if request.method not in {b"GET", b"HEAD"}:
            return HttpAnswer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n")
        path = request.target.decode("ascii", "replace").partition("?")[0]
        accept = dict(request.headers).get(b"accept", b"").decode("ascii", "replace")
        return await self._answering(path, accept)


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    """Read a request without a body.

    Raises:
        h11.RemoteProtocolError: it is not HTTP, or too large.
        EOFError: the client has gone.

    """
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            octets = await reader.read(_LARGEST)
            connection.receive_data(octets)
        elif isinstance(event, h11.Request):
            # A body is not read: the answer ends the connection.
            return event
        else:
            raise EOFError


def _written(connection: h11.Connection, answer: HttpAnswer, *, has_body: bool) -> bytes:
    headers = [
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Connection", "close"),
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers.append(("Allow", "GET, HEAD"))
    reason = answer.status.phrase.encode()
    response = h11.Response(status_code=answer.status, headers=headers, reason=reason)
    parts = [connection.send(response)]
    if has_body:
        parts.append(connection.send(h11.Data(data=answer.body)))
    with contextlib.suppress(h11.LocalProtocolError):  # an answer to no request has no end
        parts.append(connection.send(h11.EndOfMessage()))
    return b"".join(part for part in parts if part)
