"""The connections of administrators: one line, one answer, a prompt; bounded in number and length."""

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from emailrelay.classic import peer
from emailrelay.classic.admin import Admin

PROMPT = b"E-MailRelay> "

_LONGEST_LINE = 1000
_MOST = 20
"""Connections at a time."""
_SILENCE = 600.0
"""Seconds after which a silent administrator is sent away."""
_STRANGERS_SILENCE = 60.0
"""The same for users who can only look."""

_HTTP = re.compile(rb"[A-Za-z]+ \S+ HTTP/|[A-Za-z-]+: |PRI \* ", re.IGNORECASE)
"""A browser that some web page has sent here; what comes after its first line must not be obeyed."""


@dataclass(eq=False, slots=True)
class _Session:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    trusted: bool
    """Whether it comes from somebody who may do more than look."""
    heard: float
    """When (by the loop's clock) it last said something."""

    @property
    def silence(self) -> float:
        """Give the seconds for which it may say nothing."""
        return _SILENCE if self.trusted else _STRANGERS_SILENCE


class AdminServer:
    """Serves administrators on these sockets. An ``async with`` block.

    Users who can only look hold no place against anybody: when all places are taken, the one of them
    who has been silent longest goes.
    """

    def __init__(self, admin: Admin, sockets: Sequence[socket.socket]) -> None:
        self._admin = admin
        self._sockets = sockets
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[_Session, asyncio.Task[None]] = {}

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
        tasks = tuple(self._sessions.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._sessions) >= _MOST and not self._make_room():
            writer.close()
            return
        # Asked at once: of a client that has gone nobody can tell any more who it was.
        user = peer.user_of(writer.get_extra_info("socket"))
        now = asyncio.get_running_loop().time()
        session = _Session(reader, writer, peer.belongs_here(user), now)
        task = asyncio.create_task(self._serve(session))
        self._sessions[session] = task
        task.add_done_callback(lambda _: self._sessions.pop(session, None))

    def _make_room(self) -> bool:
        strangers = [session for session in self._sessions if not session.trusted]
        if not strangers:
            return False
        idlest = min(strangers, key=lambda session: session.heard)
        self._sessions.pop(idlest).cancel()
        return True

    async def _serve(self, session: _Session) -> None:
        try:
            await self._converse(session)
        except (TimeoutError, ConnectionError):
            pass  # Silent, or gone: nobody to answer.
        finally:
            session.writer.close()

    async def _converse(self, session: _Session) -> None:
        while line := await _line(session):
            session.heard = asyncio.get_running_loop().time()
            said = line.decode(errors="replace").strip()
            if said.lower() == "quit" or _HTTP.match(line):
                return
            if said:
                async for text in self._admin.answer(said, trusted=session.trusted):
                    await _write(session, text.encode(errors="replace") + b"\r\n")
            await _write(session, PROMPT)


async def _line(session: _Session) -> bytes:
    """Give the next line; nothing at the end, or when it is without end itself."""
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
