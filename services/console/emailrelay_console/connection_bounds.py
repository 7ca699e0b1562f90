"""Bounds the time of slow clients, and makes room for others: uvicorn waits for clients forever."""

import asyncio
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 200
"""Connections at a time; a further one ends the oldest that waits for a request."""
_REQUEST = 15.0
"""The most seconds until a request's last header, from its first octet or the connection."""
_STALLED = 60.0
"""The most seconds for which a client takes nothing of an answer."""


class BoundedConnection(H11Protocol):
    """A connection of a browser or a program."""

    _request_end: asyncio.TimerHandle | None = None
    _stalled_end: asyncio.TimerHandle | None = None
    began = 0.0
    """Its time on the clock of the loop."""

    @property
    def answers(self) -> bool:
        """True while a request is answered."""
        cycle = self.cycle
        return bool(cycle) and not cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        if len(self.connections) >= MOST:
            others = cast("set[BoundedConnection]", self.connections)
            idle = [each for each in others if not each.answers]
            if idle:
                min(idle, key=lambda each: each.began).transport.abort()
        super().connection_made(transport)
        self.began = self.loop.time()
        self._request_end = self._later(_REQUEST)

    def data_received(self, data: bytes) -> None:
        """Take octets of a request."""
        super().data_received(data)
        if self.answers:
            _cancel(self._request_end)
            self._request_end = None
        elif self._request_end is None:
            self._request_end = self._later(_REQUEST)

    def pause_writing(self) -> None:
        """Wait for a client that takes no more of an answer."""
        super().pause_writing()
        self._stalled_end = self._stalled_end or self._later(_STALLED)

    def resume_writing(self) -> None:
        """Go on with an answer."""
        super().resume_writing()
        _cancel(self._stalled_end)
        self._stalled_end = None

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        super().connection_lost(exc)
        _cancel(self._request_end)
        _cancel(self._stalled_end)

    def _later(self, seconds: float) -> asyncio.TimerHandle:
        abort: Callable[[], None] = self.transport.abort
        return self.loop.call_later(seconds, abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
