"""The transport's side of a connection: all connections of an event loop share one buffer.

Between its filling and its use nothing else runs. So an idle connection costs no buffer, and a
large content is copied once less.
"""

import asyncio
import threading
from typing import Protocol

from emailrelay.store.base import CHUNK


class InletUser(Protocol):
    """The connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        ...

    def received(self, octets: memoryview) -> None:
        """Use these octets, or copy them: their memory is used again."""
        ...

    def ended(self) -> bool:
        """Note that the client sends no more; return whether it can still get replies."""
        ...

    def connection_lost(self, error: Exception | None, /) -> None:
        """See ``asyncio.BaseProtocol``."""
        ...

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        ...

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        ...


class _Thread(threading.local):
    """The buffer of each thread, and so of each event loop."""

    _buffer: memoryview | None = None

    @property
    def buffer(self) -> memoryview:
        """Room for what arrives; made at the first use."""
        if self._buffer is None:
            self._buffer = memoryview(bytearray(CHUNK))
        return self._buffer


_THREAD = _Thread()


class Inlet(asyncio.BufferedProtocol):
    """A protocol of its own, because uvloop does not let an ``asyncio.Protocol`` give a buffer."""

    __slots__ = ("_user",)

    def __init__(self, user: InletUser) -> None:
        self._user = user

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass it on."""
        self._user.connection_made(transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - it has one size
        """Give room for the next octets."""
        return _THREAD.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Pass the octets on."""
        self._user.received(_THREAD.buffer[:nbytes])

    def eof_received(self) -> bool:
        """Pass it on."""
        return self._user.ended()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._user.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._user.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._user.resume_writing()
