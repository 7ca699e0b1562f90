"""The octets that arrived from a client and wait to be read: command lines or content, in turn."""

import asyncio

LIMIT = 64 * 1024
"""No command line is longer. Reading from the socket pauses while more than twice this waits."""
_BEGIN = 16
_LONGEST_JUNK = 1024 * 1024
"""Octets of one endless line that are skipped before the session gives up."""


class LineTooLong(Exception):
    """A command line of more than ``LIMIT`` octets, which was skipped."""

    def __init__(self, begin: bytes, *, ended: bool) -> None:
        super().__init__()
        self.begin = begin
        """Enough of it to recognize the command."""
        self.ended = ended
        """False: its end was not found within ``_LONGEST_JUNK`` octets."""


class ClientInput:
    """A buffer that the transport feeds and the session's task waits for."""

    __slots__ = (
        "_buffer",
        "_loop",
        "_paused",
        "_transport",
        "_waiter",
        "ended",
        "error",
        "gone",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.gone: asyncio.Future[None] = loop.create_future()
        """Done when the client has closed its side, the connection broke, or after ``give_up``."""
        self.error: Exception | None = None
        """The error that broke the connection, if any."""
        self._loop = loop
        self._buffer = bytearray()
        self.ended = False
        """Nothing more will arrive."""
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False

    def read_from(self, transport: asyncio.Transport) -> None:
        """Pause and resume this transport from now on."""
        before, self._transport = self._transport, transport
        if self._paused and before is not None:
            # The octets behind a handshake may have come already, and this one reads through
            # ``before``.
            transport.pause_reading()
            before.resume_reading()

    def feed(self, octets: bytes | memoryview) -> None:
        """Append octets that have arrived."""
        self._buffer += octets
        self._wake()
        if len(self._buffer) > 2 * LIMIT and not self._paused and self._transport is not None:
            self._transport.pause_reading()
            self._paused = True

    def end(self, error: Exception | None = None) -> None:
        """Note that nothing more will arrive. ``error``: the connection broke."""
        self.ended = True
        self.error = self.error or error
        self.give_up()
        self._wake()

    def give_up(self) -> None:
        """End a wait for anything else than the client."""
        if not self.gone.done():
            self.gone.set_result(None)

    def is_empty(self) -> bool:
        """Return whether nothing is here to be read, not even the end."""
        return not self._buffer and not self.ended

    def whole_line(self, octets: bytes | memoryview) -> bytes | None:
        """Return the line in ``octets`` if nothing is here before, and they are just one line."""
        if self._buffer or len(octets) > LIMIT:
            return None
        data = bytes(octets)
        return _line(data) if data.find(b"\n") == len(data) - 1 else None

    def waiting_line(self) -> bytes | None:
        """Take a command line that is here already, without its line end: CRLF, or LF alone.

        Raises:
            LineTooLong: it has more than ``LIMIT`` octets.

        """
        end = self._buffer.find(b"\n")
        return None if end < 0 else self._take_line(end)

    async def line(self) -> bytes:
        """Wait for a command line and take it, without its line end.

        Raises:
            LineTooLong: it has more than ``LIMIT`` octets.
            EOFError: the client has gone; an unfinished line does not count.
            ConnectionError: the connection broke.

        """
        end = searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LIMIT:
                await self._skip_line()
            await self._wait()
        return self._take_line(end)

    def take(self, most: int) -> bytes:
        """Take at most ``most`` octets of what is here; b"" if nothing is, but something may come.

        Raises:
            EOFError, ConnectionError: see ``line``.

        """
        if self.error is not None:
            raise self.error
        if self.ended and not self._buffer:
            raise EOFError
        octets = bytes(self._buffer[:most])
        self._remove(len(octets))
        return octets

    def take_all(self) -> bytes:
        """Take everything that is here."""
        octets = bytes(self._buffer)
        self._remove(len(octets))
        return octets

    def put_back(self, octets: bytes | memoryview) -> None:
        """Let these be read next: commands that arrived together with the end of a content."""
        self._buffer[:0] = octets

    def _take_line(self, end: int) -> bytes:
        line = bytes(self._buffer[: end + 1])
        self._remove(end + 1)
        if end > LIMIT:
            raise LineTooLong(line[:_BEGIN], ended=True)
        return _line(line)

    async def _skip_line(self) -> None:
        """Read up to the end of the line, or give up. Raises LineTooLong in either case."""
        begin, skipped = bytes(self._buffer[:_BEGIN]), 0
        while (end := self._buffer.find(b"\n")) < 0:
            skipped += len(self._buffer)
            self._remove(len(self._buffer))
            if skipped >= _LONGEST_JUNK:
                raise LineTooLong(begin, ended=False)
            await self._wait()
        self._remove(end + 1)
        raise LineTooLong(begin, ended=True)

    async def _wait(self) -> None:
        if self.error is not None:
            raise self.error
        if self.ended:
            raise EOFError
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _remove(self, octets: int) -> None:
        del self._buffer[:octets]
        if self._paused and len(self._buffer) <= LIMIT and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()


def _line(octets: bytes) -> bytes:
    return octets[:-1].removesuffix(b"\r")
