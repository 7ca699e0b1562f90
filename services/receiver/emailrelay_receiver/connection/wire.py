"""The content of a large message on its way from the socket to its draft, past the session's task.

A task that is woken for each piece, and a stream that copies it in and out, cost as much as all that is done
with the piece. So the rest of a content that did not come whole is read by a protocol of its own, into one
buffer that all sessions share: between its filling and its taking nothing else runs.
"""

import asyncio
import threading
from collections.abc import Callable

from emailrelay.store.base import CHUNK


class _OfThread(threading.local):
    """What each thread, and so each loop, has for itself."""

    _buffer: memoryview | None = None

    @property
    def buffer(self) -> memoryview:
        """Room for what comes; made when it is first needed."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(CHUNK))
        return self._buffer


_OF_THREAD = _OfThread()


class Inflow(asyncio.BufferedProtocol):
    """Stands in for a session's protocol until ``take`` wants no more; ``take`` gets what has come."""

    def __init__(self, session: asyncio.Protocol, take: Callable[[memoryview], bool]) -> None:
        """Nothing happens before ``run``."""
        self._session = session
        self._take = take
        self._buffer = _OF_THREAD.buffer
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, transport: asyncio.Transport, gone: asyncio.Future[None]) -> None:
        """Take what comes, until ``take`` wants no more of it or the client has ``gone``.

        Raises:
            Exception: whatever ``take`` raises.

        """
        # A transport for TLS may have begun to tell the session of the end already, and tells us nothing then.
        gone.add_done_callback(self._end)
        _switch(transport, self)
        try:
            await self._over
        finally:
            gone.remove_done_callback(self._end)
            if transport.get_protocol() is self:
                _switch(transport, self._session)

    # What the transport calls

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it is as large as any
        """Give room for the next octets."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take the octets that have come."""
        if self._over.done():  # read in the same breath as the last ones, or after a cancellation
            self._session.data_received(bytes(self._buffer[:nbytes]))
            return
        try:
            more = self._take(self._buffer[:nbytes])
        except Exception as error:  # noqa: BLE001 - it is the session's, whose task waits for it
            self._over.set_exception(error)
            return
        if not more:
            self._over.set_result(None)

    def eof_received(self) -> bool | None:
        """Let the session know."""
        self._end()
        return self._session.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let the session know."""
        self._end()
        self._session.connection_lost(exc)

    def pause_writing(self) -> None:
        """Let the session know."""
        self._session.pause_writing()

    def resume_writing(self) -> None:
        """Let the session know."""
        self._session.resume_writing()

    def _end(self, _gone: asyncio.Future[None] | None = None) -> None:
        if not self._over.done():
            self._over.set_result(None)


def _switch(transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
    # uvloop decides at the start of reading whether it is into a buffer of the protocol's. A session that
    # has more than enough to read, and has paused it, resumes it by itself.
    reading = transport.is_reading()
    if reading:
        transport.pause_reading()
    transport.set_protocol(protocol)
    if reading:
        transport.resume_reading()
