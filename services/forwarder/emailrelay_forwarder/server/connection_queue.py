"""The queue of messages for the connections to one server."""

import asyncio
from collections import deque
from collections.abc import Callable

from emailrelay_forwarder.server.connection_limit import ConnectionLimit
from emailrelay_forwarder.session.session_error import SessionError

STALLED = 10.0
"""Seconds without one finished delivery on any connection, after which no more mail waits for
one."""


class ConnectionQueue:
    """Lets as many messages through as ``limit`` allows, in the order of their arrival.

    ``check`` raises an error if there is no point in waiting. ``stalled`` makes the error for a
    server that keeps all its connections busy without finishing anything.
    """

    def __init__(
        self,
        limit: ConnectionLimit,
        *,
        check: Callable[[], None],
        stalled: Callable[[], SessionError],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._check = check
        self._stalled = stalled
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        """One for all waiters, which rings when the server may have stalled."""
        self._finished_at = 0.0
        self.in_use = 0
        """Messages that have a place: those that have passed, or are to pass, and have not left."""

    def __len__(self) -> int:
        """Count the waiting messages."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Wait until the message may use a connection; ``leave`` must follow.

        Raises:
            SessionError: of ``check``, or of ``stalled``.

        """
        self._check()
        if self.in_use >= self._limit.now:
            await self._place()
            return
        if self.in_use == 0:
            self._finished_at = self._loop.time()
        self.in_use += 1

    async def _place(self) -> None:
        """Wait until ``leave`` gives this message the place of another one."""
        rest = self._rest()
        if rest <= 0:
            raise self._stalled()
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        if self._timer is None:
            self._timer = self._loop.call_later(rest, self._look)
        try:
            await waiter
            self._check()
        except BaseException:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            elif not waiter.cancelled() and waiter.exception() is None:
                self.leave()
            raise

    def finished(self) -> None:
        """Note that a message is done, well or badly, and let the next one through."""
        self._finished_at = self._loop.time()
        self.leave()

    def leave(self) -> None:
        """Give the place to the next message; this one was not offered."""
        self.in_use -= 1
        if self.in_use == 0:
            self._finished_at = self._loop.time()  # the next one has just begun
        while self._waiters and self.in_use < self._limit.now:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self.in_use += 1

    def _rest(self) -> float:
        return self._finished_at + STALLED - self._loop.time()

    def _look(self) -> None:
        """Turn all waiters away if the server has stalled; else look again when it may have."""
        self._timer = None
        if not self._waiters:
            return
        if (rest := self._rest()) > 0:
            self._timer = self._loop.call_later(rest, self._look)
            return
        waiters, self._waiters = self._waiters, deque()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(self._stalled())
