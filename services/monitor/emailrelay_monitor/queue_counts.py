"""Counts the messages of the store now and then, however often it is asked.

A count of a spool reads all its names, and one of a database all its rows. So there are at least
``_PAUSE`` seconds between two counts, and they may take one part in ``_SHARE`` of all time.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from emailrelay.errors import RelayError
from emailrelay.stage import Stage
from emailrelay.store.base import StageTotal, Store

_PAUSE = 10.0
_SHARE = 100
_PATIENCE = 3.0
"""Seconds that a question waits for a count; then it gets the one before."""
_LONGEST = 120.0
"""Seconds after which a count is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueCount:
    """One count."""

    at: float
    """Time on the monotonic clock, in seconds."""
    stages: Mapping[Stage, StageTotal] = field(default_factory=dict[Stage, StageTotal])
    free: int | None = None
    """Octets of free room; None: unknown."""
    trouble: str = ""
    """Why there is no count; empty: there is one."""


class QueueCounts:
    """The latest count of one store."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        """Count what ``opened`` returns: a store to look at, whose block is entered at each count."""
        self._opened = opened
        self._latest: QueueCount | None = None
        self._not_before = 0.0
        self._counting: asyncio.Task[None] | None = None

    async def latest(self) -> QueueCount:
        """Return the latest count, after a new one if it is time for that."""
        if self._counting is None and time.monotonic() >= self._not_before:
            self._counting = asyncio.create_task(self._count())
        if self._counting is not None:
            await asyncio.wait((self._counting,), timeout=_PATIENCE)
        return self._latest or QueueCount(at=time.monotonic(), trouble="the first count goes on")

    async def close(self) -> None:
        """End a count that goes on."""
        if self._counting is not None:
            self._counting.cancel()
            await asyncio.wait((self._counting,))

    async def _count(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(_LONGEST), self._opened() as store:
                stages = await store.counts()
                self._latest = QueueCount(at=time.monotonic(), stages=stages, free=store.free())
        except (RelayError, TimeoutError) as error:
            reason = str(error) or f"no answer within {_LONGEST:g} s"
            self._latest = QueueCount(at=time.monotonic(), trouble=reason)
        finally:
            now = time.monotonic()
            self._not_before = now + max(_PAUSE, _SHARE * (now - began))
            self._counting = None
