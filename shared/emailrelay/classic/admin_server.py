"""The connections of administrators: a line, an answer, a prompt; limited in number and length."""

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from emailrelay.classic import connected_user
from emailrelay.classic.admin import Admin

PROMPT = b"E-MailRelay> "

_LONGEST_LINE = 1000
_MOST = 20
"""The most connections at a time."""
_SILENCE = 600.0
"""Seconds without a line after which the connection is closed."""
_READERS_SILENCE = 60.0
"""The same for users who can only look."""

_HTTP = re.compile(rb"[A-Za-z]+ \S+ HTTP/|[A-Za-z-]+: |PRI \* ", re.IGNORECASE)
"""HTTP from a browser that a web page has sent here; no line after it may be obeyed."""


@dataclass(eq=False, slots=True)
class _Session:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    trusted: bool
    """Whether the user may do more than look."""
    last_line: float
    """The time of its last line, by the loop's clock."""

    @property
    def silence(self) -> float:
        """Return the seconds after which a silent connection is closed."""
        return _SILENCE if self.trusted else _READERS_SILENCE


class AdminServer:
    """Serves administrators on these sockets. An ``async with`` block.

    When all places are taken, a new connection gets that of the user who can only look and has been
    silent for longest.
    """

    def __init__(self, admin: Admin, sockets: Sequence[socket.socket]) -> None:
        self._admin = admin
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[_Session, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        """Begin to accept connections."""
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
        tasks = tuple(self._sessions.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._sessions) >= _MOST and not self._make_room():
            writer.close()
            return
        # At once: after the client has closed its socket, the kernel no longer knows its user.
        user = connected_user.user_of(writer.get_extra_info("socket"))
        now = asyncio.get_running_loop().time()
        session = _Session(reader, writer, connected_user.belongs_here(user), now)
        task = asyncio.create_task(self._serve(session))
        self._sessions[session] = task
        task.add_done_callback(lambda _: self._sessions.pop(session, None))

    def _make_room(self) -> bool:
        readers = [session for session in self._sessions if not session.trusted]
        if not readers:
            return False
        idlest = min(readers, key=lambda session: session.last_line)
        self._sessions.pop(idlest).cancel()
        return True

    async def _serve(self, session: _Session) -> None:
        try:
            await self._converse(session)
        except (TimeoutError, ConnectionError):
            pass  # It was silent or has gone; there is no client to answer.
        finally:
            session.writer.close()

    async def _converse(self, session: _Session) -> None:
        while line := await _line(session):
            session.last_line = asyncio.get_running_loop().time()
            text = line.decode(errors="replace").strip()
            if text.lower() == "quit" or _HTTP.match(line):
                return
            if text:
                async for reply in self._admin.answer(text, trusted=session.trusted):
                    await _write(session, reply.encode(errors="replace") + b"\r\n")
            await _write(session, PROMPT)


async def _line(session: _Session) -> bytes:
    """Return the next line; nothing at the end of the connection, or if the line is too long."""
    try:
        async with asyncio.timeout(session.silence):
            octets = await session.reader.readline()
    except ValueError:
        return b""
    return octets if octets.endswith(b"\n") else b""


async def _write(session: _Session, octets: bytes) -> None:
    session.writer.write(octets)
    async with asyncio.timeout(session.silence):
        await session.writer.drain()
