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
_STATEMENTS = (b"E", b"Q")
"""Execute and Query."""
_READY = b"Z"


class Frames:
    """Finds the messages in the octets of one direction (PostgreSQL's protocol, section 54.7)."""

    def __init__(self, *, startup: bool = False) -> None:
        """``startup``: the first message has no kind."""
        self._startup = startup
        self._rest = b""

    def read(self, octets: bytes) -> list[tuple[bytes, int]]:
        """Return the messages that end here: kind, and end as an index into ``octets``."""
        found = list[tuple[bytes, int]]()
        whole, start = self._rest + octets, 0
        before = len(self._rest)
        while True:
            head = 0 if self._startup else 1
            if len(whole) < start + head + 4:
                break
            length = int.from_bytes(whole[start + head : start + head + 4])
            end = start + head + length
            if len(whole) < end:
                break
            found.append((whole[start : start + head], end - before))
            self._startup, start = False, end
        self._rest = whole[start:]
        return found


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
    cut_in: int | None = None
    """After so many messages of the protocol, in both directions together, a connection breaks."""
    connections: int = 0
    """Connections that were tried."""
    statements: int = 0
    """Statements that were passed on."""
    before_statement: Callable[[int], None] = lambda _: None
    """Called with the number of each statement, before the server has it."""
    after_statement: Callable[[int], None] = lambda _: None
    """Called when the server has answered the requests up to that statement."""
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

    @property
    def serving(self) -> bool:
        """Whether any connection is open."""
        return bool(self._open)

    def cut(self) -> None:
        """Break all connections."""
        for writer in list(self._open):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuses:
            writer.close()
            return
        theirs, ours = await asyncio.open_unix_connection(self.server / _SOCKET)
        self._open |= {writer, ours}
        losing = asyncio.Event()
        asked, answered = Frames(startup=True), Frames()

        def request(octets: bytes) -> bool:
            if self.lose_before is not None and self.lose_before in octets:
                self.lose_before = None
                self.lost.set()
                return False
            if self.lose_answer_to is not None and self.lose_answer_to in octets:
                self.lose_answer_to = None
                losing.set()
            for kind, _ in asked.read(octets):
                if kind in _STATEMENTS:
                    self.statements += 1
                    self.before_statement(self.statements)
            return True

        def answer(octets: bytes) -> bool:
            if losing.is_set() and b"COMMIT\0" in octets:
                self.lost.set()
                return False
            if any(kind == _READY for kind, _ in answered.read(octets)):
                self.after_statement(self.statements)
            return True

        boundaries = Frames(startup=True), Frames()

        try:
            await asyncio.gather(
                self._pass(reader, ours, request, boundaries[0], swallows=lambda: False),
                self._pass(theirs, writer, answer, boundaries[1], swallows=losing.is_set),
            )
        finally:
            for each in (writer, ours):
                self._open.discard(each)
                each.close()

    def _cut(self, frames: "Frames", octets: bytes) -> int | None:
        """Return the end of the last message that is passed on; None: all is passed on."""
        if self.cut_in is None:
            return None
        for _, end in frames.read(octets):
            self.cut_in -= 1
            if self.cut_in == 0:
                self.cut_in = None
                return end
        return None

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: Callable[[bytes], bool],
        frames: "Frames",
        *,
        swallows: Callable[[], bool],
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while octets := await reader.read(1 << 20):
                if (end := self._cut(frames, octets)) is not None:
                    writer.write(octets[:end])
                    with contextlib.suppress(ConnectionError):
                        await writer.drain()
                    self.lost.set()
                    break
                if not passes(octets):
                    break
                if not self.silent and not swallows():
                    writer.write(octets)
                    await writer.drain()
        writer.close()
