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
        self._finished_at = 0.0
        self.in_use = 0
        """Messages that have passed and not left."""

    def __len__(self) -> int:
        """Count the waiting messages."""
        return len(self._waiters)

    async def enter(self) -> None:
        """Wait until the message may use a connection; ``leave`` must follow.

        Raises:
            SessionError: of ``check``, or of ``stalled``.

        """
        self._check()
        while self.in_use >= self._limit.now:
            rest = self._finished_at + STALLED - self._loop.time()
            if rest <= 0:
                raise self._stalled()
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            timer = self._loop.call_later(rest, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                elif self.in_use < self._limit.now:
                    self._wake_next()  # cancelled with its turn
            self._check()
        if self.in_use == 0:
            self._finished_at = self._loop.time()
        self.in_use += 1
        if self._waiters and self.in_use < self._limit.now:
            self._wake_next()

    def finished(self) -> None:
        """Note that a message is done, well or badly, and let the next one through."""
        self._finished_at = self._loop.time()
        self.leave()

    def leave(self) -> None:
        """Let the next message through; this one was not offered."""
        self.in_use -= 1
        if self._waiters:
            self._wake_next()

    def _wake_next(self) -> None:
        while self._waiters:
            if _wake(self._waiters.popleft()):
                return


def _wake(waiter: asyncio.Future[None]) -> bool:
    """Wake a waiter; False: it was awake already."""
    if waiter.done():
        return False
    waiter.set_result(None)
    return True
