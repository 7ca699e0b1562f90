"""Filters that are servers: one that answers paths with lines, and a small spamd."""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve, place: Path | None = None) -> AsyncGenerator[str]:
    """Serve on a free loopback port or a unix socket; give the place in the form of a spec."""
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.transport.abort()

    if place is None:
        server = await asyncio.start_server(client, "127.0.0.1", 0)
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server = await asyncio.start_unix_server(client, place)
        where = str(place)
    try:
        yield where
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@dataclass
class LineFilter:
    """Answers each path with the result of ``answer``; "" closes the connection instead."""

    answer: Callable[[Path], Awaitable[str]]
    connections: int = 0
    open_now: int = 0
    most_at_once: int = 0
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever a connection has ended."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_at_once = max(self.most_at_once, self.open_now)
        try:
            while line := await reader.readline():
                answer = await self.answer(Path(line.decode().rstrip("\n")))
                if not answer:
                    return
                writer.write(answer.encode())
        finally:
            self.open_now -= 1
            self.closed.set()


@dataclass
class FakeSpamd:
    """Judges by the word SPAM; marks with a line that ends LF, as SpamAssassin's own lines do."""

    requests: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    status: str = "SPAMD/1.1 0 EX_OK"
    spam_line: str | None = None
    shortened: int = 0
    """Octets of the marked message that are announced and not sent."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n")).decode()
        matched = re.fullmatch(r"(CHECK|PROCESS) SPAMC/1\.[0-9]\r\n", request)
        assert matched, request
        length = 0
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
        # As spamd does, it reads to the end of the request.
        message = await reader.read(-1)
        assert len(message) == length
        self.requests.append((matched[1], message))
        writer.write(self._answer(matched[1], message))
        await writer.drain()
        writer.write_eof()

    def _answer(self, command: str, message: bytes) -> bytes:
        spam = b"SPAM" in message
        judged = self.spam_line or f"Spam: {spam} ; {15.5 if spam else -1.0} / 5.0"
        if command == "CHECK":
            return f"{self.status}\r\n{judged}\r\n\r\n".encode()
        # Only clients of SPAMC/1.3 get spamd's judgement here.
        body = b"X-Spam-Flag: YES\n" + message
        head = f"{self.status}\r\nContent-length: {len(body)}\r\n\r\n"
        return head.encode() + body[: len(body) - self.shortened]
