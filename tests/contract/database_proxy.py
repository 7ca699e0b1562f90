"""Stands between a store and its server, and loses connections at the moments that matter."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

_SOCKET = ".s.PGSQL.5432"


@dataclass
class DatabaseProxy:
    """Passes all octets on, until it is told to lose them."""

    server: Path
    directory: Path
    lose_before: bytes | None = None
    """The first request with these octets does not arrive; its connection breaks."""
    lose_answer_to: bytes | None = None
    """The first request with these octets is done by the server, and its answer lost."""
    refuses: bool = False
    silent: bool = False
    """Nothing is passed on, and nothing breaks: as if packets were dropped."""
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])

    @classmethod
    @asynccontextmanager
    async def before(cls, server: Path) -> AsyncGenerator[Self]:
        """Serve in a directory of its own."""
        with tempfile.TemporaryDirectory(prefix="px-", dir="/tmp") as name:
            proxy = cls(server, Path(name))
            serving = await asyncio.start_unix_server(proxy._serve, proxy.directory / _SOCKET)
            try:
                yield proxy
            finally:
                serving.close()
                proxy.cut()

    def cut(self) -> None:
        """Break all connections."""
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.close()
            return
        theirs, ours = await asyncio.open_unix_connection(self.server / _SOCKET)
        self._open |= {writer, ours}
        losing = asyncio.Event()

        def request(octets: bytes) -> bool:
            if self.lose_before is not None and self.lose_before in octets:
                self.lose_before = None
                self.lost.set()
                return False
            if self.lose_answer_to is not None and self.lose_answer_to in octets:
                self.lose_answer_to = None
                losing.set()
            return True

        def answer(octets: bytes) -> bool:
            if losing.is_set() and b"COMMIT\0" in octets:
                self.lost.set()
                return False
            return True

        try:
            await asyncio.gather(
                self._pass(reader, ours, request, swallows=lambda: False),
                self._pass(theirs, writer, answer, swallows=losing.is_set),
            )
        finally:
            for each in (writer, ours):
                self._open.discard(each)
                each.close()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: Callable[[bytes], bool],
        *,
        swallows: Callable[[], bool],
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while octets := await reader.read(1 << 20):
                if not passes(octets):
                    break
                if not self.silent and not swallows():
                    writer.write(octets)
                    await writer.drain()
        writer.close()
