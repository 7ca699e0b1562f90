"""The limits of a route within one process."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from emailrelay.routes import Rate
from emailrelay.store.limits import RouteLimits, Slot


@dataclass(slots=True)
class MemoryLimits(RouteLimits):
    """See ``RouteLimits``."""

    held: int = 0
    waiting: int = 0
    sent: deque[float] = field(default_factory=deque[float])
    freed: asyncio.Event = field(default_factory=asyncio.Event)
    clock: Callable[[], float] = field(kw_only=True)

    async def slot(self, most: int, *, within: float) -> Slot | None:
        """See ``RouteLimits.slot``."""
        self.waiting += 1
        try:
            async with asyncio.timeout(within):
                while self.held >= most:
                    self.freed.clear()
                    await self.freed.wait()
        except TimeoutError:
            return None
        finally:
            self.waiting -= 1
        self.held += 1
        return _Slot(self)

    async def permit(self, rate: Rate) -> float:
        """See ``RouteLimits.permit``."""
        now = self.clock()
        while len(self.sent) > rate.messages:
            self.sent.popleft()
        if len(self.sent) == rate.messages:
            then = self.sent[0]
            if then <= now < then + rate.seconds:
                return min(then + rate.seconds - now, rate.seconds)
        self.sent.append(now)
        return 0.0


class _Slot(Slot):
    """See ``Slot``."""

    def __init__(self, limits: MemoryLimits) -> None:
        self._limits: MemoryLimits | None = limits

    def wanted(self) -> bool:
        """See ``Slot.wanted``."""
        return self._limits is not None and self._limits.waiting > 0

    def release(self) -> None:
        """See ``Slot.release``."""
        limits, self._limits = self._limits, None
        if limits is not None:
            limits.held -= 1
            limits.freed.set()
