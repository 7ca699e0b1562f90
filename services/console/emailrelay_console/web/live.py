"""Sends a part of a page again and again to the browsers that show it (server-sent events).

The part is made once for all of them, and only while there are some.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from emailrelay.errors import RelayError

MOST = 100
"""Browsers at a time."""
PAUSE = 5.0
"""Seconds between two versions."""
_RETRY = b"retry: 5000\n\n"


class TooManyBrowsers(RelayError):
    """No further browser gets live updates; the page can be loaded again."""


class Live:
    """The versions of one part of a page."""

    def __init__(self, make: Callable[[], Awaitable[str]], pause: float = PAUSE) -> None:
        self._make, self._pause = make, pause
        self._event = b""
        self._number = 0
        self._changed = asyncio.Condition()
        self._listening = 0
        self._over = False
        self._task: asyncio.Task[None] | None = None

    def reserve(self) -> None:
        """Take a place for a browser; ``events`` gives it back.

        Raises:
            TooManyBrowsers: all are taken.

        """
        if self._listening >= MOST:
            raise TooManyBrowsers("too many browsers show live updates; load the page again later")
        self._listening += 1

    async def events(self, may_go_on: Callable[[], bool]) -> AsyncIterator[bytes]:
        """Yield the beginning of a stream, and each version until ``may_go_on`` says no."""
        try:
            yield _RETRY
            seen = 0
            while not self._ends() and may_go_on():
                self._begin()
                seen = await self._after(seen)
                if may_go_on() and not self._ends():
                    yield self._event
        finally:
            self._listening -= 1

    async def _after(self, seen: int) -> int:
        """Wait for a version after the one ``seen``, or for the end; return its number."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._over or self._number > seen)
            return self._number

    def _ends(self) -> bool:
        return self._over

    async def close(self) -> None:
        """End all streams."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        async with self._changed:
            self._changed.notify_all()

    def _begin(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._listening:
            with suppress(RelayError, OSError):  # the next version may be possible again
                event = _event(await self._make())
                async with self._changed:
                    self._event, self._number = event, self._number + 1
                    self._changed.notify_all()
            await asyncio.sleep(self._pause)


def _event(text: str) -> bytes:
    """Write a text as an event (HTML standard, 9.2.6)."""
    lines = text.encode(errors="replace").splitlines()
    return b"".join(b"data: %s\n" % line for line in lines) + b"\n"
