"""A moment that tasks of one event loop wait for, without a system call."""

import asyncio

from emailrelay.running_loop import running_loop


class Moment:
    """Like ``asyncio.Event``, which asks for the number of the process at each wait."""

    __slots__ = ("_waiters", "come")

    def __init__(self) -> None:
        self.come = False
        """True if it has come."""
        self._waiters: list[asyncio.Future[None]] = []

    def set(self) -> None:
        """Note that it has come, and wake all waiters."""
        self.come = True
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until it has come."""
        if not self.come:
            waiter = running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
