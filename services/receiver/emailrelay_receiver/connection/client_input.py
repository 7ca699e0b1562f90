"""The octets that came from a client and wait to be read: command lines or content, in turn."""

import asyncio
from collections.abc import Callable

from emailrelay.store.base import CHUNK

LIMIT = 64 * 1024
"""The socket is no longer read from while more than twice this waits; no command line is longer."""
_BEGIN = 16
_LONGEST_JUNK = 1024 * 1024
"""Octets of one endless line that are skipped before the connection is given up."""


class LineTooLong(Exception):
    """A command line beyond any use; it has been skipped when ``ended``, else it has no end."""

    def __init__(self, begin: bytes, *, ended: bool) -> None:
        super().__init__()
        self.begin = begin
        """Enough of it to see which command it was."""
        self.ended = ended


class Intake(asyncio.StreamReader):
    """A stream reader that can say what is waiting, and take back what was read too far."""

    # Attributes of asyncio's that have no public counterpart; the same in Python 3.11 to 3.14.
    _buffer: bytearray
    _transport: asyncio.Transport | None
    _maybe_resume_transport: Callable[[], None]

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=limit, loop=loop)
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when nothing more is waited for: the client closed its side, the connection broke, or we give up."""
        self._idle = False
        """Whether a line is waited for, and not for the rest of one that is too long."""

    def give_up(self) -> None:
        """Have whoever waits for something else do so no longer than for the client."""
        if not self.gone.done():
            self.gone.set_result(None)

    def whole_line(self, data: bytes) -> bytes | None:
        """Give the line that comes in ``data`` if it is what is waited for, whole, and nothing else."""
        if not self._idle or self._buffer or data.find(b"\n") != len(data) - 1 or len(data) > LIMIT:
            return None
        return _line(data)

    def feed_eof(self) -> None:
        """Take note of the end."""
        self.give_up()
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        """Take note of the break."""
        self.give_up()
        super().set_exception(exc)

    def waiting_line(self) -> bytes | None:
        """Take a command line that has come already, without its line end.

        Raises:
            LineTooLong: as for one that came in pieces.

        """
        end = self._buffer.find(b"\n")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._maybe_resume_transport()
        if end > LIMIT:
            raise LineTooLong(line[:_BEGIN], ended=True)
        return line.removesuffix(b"\r")

    async def line(self) -> bytes:
        """Wait for a command line and take it, without its line end: CRLF, or LF alone.

        Raises:
            LineTooLong: as it says.
            EOFError: the client has gone, what it left unfinished does not count.
            ConnectionError: the connection broke.

        """
        try:
            self._idle = True
            try:
                line = await self.readuntil(b"\n")
            finally:
                self._idle = False
        except asyncio.LimitOverrunError as error:
            begin = bytes(self._buffer[:_BEGIN])
            raise LineTooLong(begin, ended=await self._skip(error.consumed)) from None
        return _line(line)

    async def content(self, most: int = CHUNK) -> bytes:
        """Wait for octets of content and take at most ``most`` and ``CHUNK`` of them.

        Raises:
            EOFError, ConnectionError: see ``line``.

        """
        chunk = await self.read(min(most, CHUNK))
        if not chunk:
            raise EOFError
        return chunk

    def take_all(self) -> bytes:
        """Take what has come and was not read."""
        octets = bytes(self._buffer)
        self._buffer.clear()
        self._maybe_resume_transport()
        return octets

    def come_by(self, transport: asyncio.Transport) -> None:
        """Let further octets come by another transport, the encrypted one."""
        self._transport = transport

    @property
    def dry(self) -> bool:
        """Whether nothing waits, and something may come."""
        return not self._buffer and not self.gone.done()

    def put_back(self, octets: bytes | memoryview) -> None:
        """Let these be read next: commands that came in one piece with the end of the content."""
        self._buffer[:0] = octets

    async def _skip(self, consumed: int) -> bool:
        """Read on to the end of the line; return whether it has one."""
        skipped = 0
        while skipped < _LONGEST_JUNK:
            skipped += len(await self.readexactly(consumed))
            try:
                await self.readuntil(b"\n")
            except asyncio.LimitOverrunError as error:
                consumed = error.consumed
            else:
                return True
        return False


def _line(octets: bytes) -> bytes:
    return octets[:-1].removesuffix(b"\r")
