"""Bounds the time of slow clients, and makes room for others: uvicorn waits for clients forever."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from emailrelay.client_source import source_of

MOST = 200
"""Connections at a time; a further one ends one that waits for its client."""
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

    @property
    def waits(self) -> bool:
        """True if the client has to send something: a request, or the rest of one."""
        return not self.answers or self.cycle.more_body

    @property
    def source(self) -> str:
        """The source of the client, as failed sign-ins are counted."""
        return source_of("" if self.client is None else self.client[0])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        self._make_room()
        super().connection_made(transport)
        self.began = self.loop.time()
        self._request_end = self._later(_REQUEST)

    def _make_room(self) -> None:
        """End the oldest connection that waits, of the source that has most of these."""
        known = cast("set[BoundedConnection]", self.connections)
        # One that was ended is known until the next turn of the loop.
        others = [each for each in known if not each.transport.is_closing()]
        waiting = [each for each in others if each.waits]
        if len(others) >= MOST and waiting:
            number = Counter(each.source for each in waiting)
            min(waiting, key=lambda each: (-number[each.source], each.began)).transport.abort()

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
