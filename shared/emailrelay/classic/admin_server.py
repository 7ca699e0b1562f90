"""The connections of administrators: one line, one answer, a prompt; bounded in number and length."""

import asyncio
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from emailrelay.classic.admin import Admin

PROMPT = b"E-MailRelay> "

_LONGEST_LINE = 1000
_MOST = 20
"""Connections at a time; each further one is closed at once."""
_SILENCE = 600.0
"""Seconds after which a silent administrator is sent away."""

_HTTP = re.compile(rb"[A-Za-z]+ \S+ HTTP/|[A-Za-z-]+: |PRI \* ", re.IGNORECASE)
"""A browser that some web page has sent here; what comes after its first line must not be obeyed."""


class AdminServer:
    """Serves administrators on these sockets. An ``async with`` block."""

    def __init__(self, admin: Admin, sockets: Sequence[socket.socket]) -> None:
        self._admin = admin
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._sessions: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Begin to accept."""
        for listening in self._sockets:
            server = await asyncio.start_server(
                self._accept, sock=listening.dup(), limit=_LONGEST_LINE
            )
            self._servers.append(server)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close everything."""
        for server in self._servers:
            server.close()
        for session in tuple(self._sessions):
            session.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._sessions) >= _MOST:
            writer.close()
            return
        session = asyncio.create_task(self._serve(reader, writer))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # Silent, gone, or a line without end: nobody to answer.
            with suppress(TimeoutError, ConnectionError, ValueError):
                await self._converse(reader, writer)
        finally:
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(PROMPT)
            async with asyncio.timeout(_SILENCE):
                await writer.drain()
                octets = await reader.readline()
            line = octets.decode(errors="replace").strip()
            if not octets.endswith(b"\n") or line.lower() == "quit" or _HTTP.match(octets):
                return
            if line:
                async for text in self._admin.answer(line):
                    writer.write(text.encode(errors="replace") + b"\r\n")
                    async with asyncio.timeout(_SILENCE):
                        await writer.drain()
