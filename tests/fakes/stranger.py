"""A server of another protocol than SMTP, with the greeting and the answers that a test sets."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class StrangePeer:
    """An ``async with`` block: inside it the server listens on ``port``."""

    banner: bytes = b""
    """The greeting."""
    answer: bytes = b""
    """The answer to an empty line."""
    closes: bool = False
    """End each connection at once."""
    context: ssl.SSLContext | None = None
    """TLS from the first octet."""
    port: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            if not self.closes:
                writer.write(self.banner)
                await reader.readuntil(b"\r\n\r\n")
                writer.write(self.answer)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()
