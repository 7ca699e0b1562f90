"""Counts the messages of the store now and then, however often it is asked.

A count of a spool reads all its names, and one of a database all its rows. So there are at least
``_PAUSE`` seconds between two counts, and they may take one part in ``_SHARE`` of all time.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emailrelay.errors import reason_of
from emailrelay.store.queue_view import QueueView, StageCount

_PAUSE = 10.0
_SHARE = 100
_PATIENCE = 3.0
"""Seconds that a question waits for a count; then it gets the one before."""
_LONGEST = 120.0
"""Seconds after which a count that goes on is trouble."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCount:
    """One count."""

    at: float
    """Time on the monotonic clock, in seconds."""
    counts: Sequence[StageCount] = ()
    """Their octets and ``later`` mean nothing."""
    free: int | None = None
    """Octets of free room; None: unknown."""
    trouble: str = ""
    """Why there is no count; empty: there is one."""


class QueueCounts:
    """The latest count of one queue."""

    def __init__(self, opens: Callable[[], QueueView]) -> None:
        """Count the queue that ``opens`` opens; it is opened anew for each count."""
        self._opens = opens
        self._latest: QueueCount | None = None
        self._began, self._not_before = 0.0, 0.0
        self._end: asyncio.Event | None = None
        """None: no count goes on."""

    async def latest(self) -> QueueCount:
        """Return the latest count, after a new one if it is time for that."""
        if self._end is None and time.monotonic() >= self._not_before:
            self._begin()
        if self._end is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._end.wait(), _PATIENCE)
        now = time.monotonic()
        if self._end is not None and now - self._began > _LONGEST:
            return QueueCount(at=now, trouble=f"no answer within {_LONGEST:g} s")
        return self._latest or QueueCount(at=now, trouble="the first count goes on")

    def _begin(self) -> None:
        """Count in a daemon thread: a file system that hangs must not delay the monitor's end."""
        loop = asyncio.get_running_loop()
        self._began, self._end = time.monotonic(), asyncio.Event()

        def work() -> None:
            found = self._count()
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._take, found)

        threading.Thread(target=work, daemon=True, name="count the queue").start()

    def _count(self) -> QueueCount:
        try:
            with self._opens() as view:
                counts = tuple(view.counts(time.time(), names_only=True))
                room, missing = view.free(), view.missing
        except Exception as error:  # noqa: BLE001 -- the thread has no caller to raise it in
            return QueueCount(at=time.monotonic(), trouble=reason_of(error) or repr(error))
        if missing is not None:
            return QueueCount(
                at=time.monotonic(), trouble=f"a part of the queue is unavailable: {missing}"
            )
        free = None if room is None else room[0]
        return QueueCount(at=time.monotonic(), counts=counts, free=free)

    def _take(self, found: QueueCount) -> None:
        now = time.monotonic()
        self._latest = found
        self._not_before = now + max(_PAUSE, _SHARE * (now - self._began))
        if self._end is not None:
            self._end.set()
        self._end = None
