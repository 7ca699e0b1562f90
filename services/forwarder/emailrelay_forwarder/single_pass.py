"""One attempt for each ready message, before its retry time as well."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from emailrelay.events.event import Report
from emailrelay.events.filters import StillUnfiltered
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Listed, Store
from emailrelay_forwarder.delivery.drain import Deliveries
from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.server.connection_limit import START

MESSAGES_A_CONNECTION = 10
"""Messages that pay for a further connection. A short queue goes in order over one."""


@dataclass(slots=True, kw_only=True)
class SinglePass:
    """A single pass through the queue."""

    store: Store
    forwarding: Forwarding
    report: Report
    most: int
    """Messages under way at a time."""
    grace: float
    """Seconds to wait for the answers to final dots when the process is stopped."""
    _deliveries: Deliveries = field(init=False, default_factory=Deliveries)
    _ended: bool = field(init=False, default=False)

    async def run(self, stop: asyncio.Event) -> bool:
        """Forward everything, oldest first; return whether nothing is left but held mail.

        A client filter may end the pass: messages under way are finished, and no other is begun.
        """
        listed = [entry async for entry in self.store.listing((Stage.READY, Stage.UNFILTERED))]
        unfiltered = sum(entry.stage is Stage.UNFILTERED for entry in listed)
        if unfiltered:
            self.report(StillUnfiltered(messages=unfiltered))
        ready = [entry for entry in listed if entry.stage is Stage.READY]
        queue = iter([entry.id for entry in sorted(ready, key=_arrival)])
        tasks = min(self.most, START, 1 + len(ready) // MESSAGES_A_CONNECTION)
        work = {asyncio.create_task(self._forward_all(queue)) for _ in range(tasks)}
        stopping = asyncio.create_task(stop.wait())
        everything = asyncio.create_task(asyncio.wait(work))
        try:
            await asyncio.wait({stopping, everything}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self._deliveries.drain(work, self.grace)
            await everything
        ends = [not task.cancelled() and task.result() for task in work]
        return not unfiltered and all(ends) and next(queue, None) is None

    async def _forward_all(self, queue: Iterator[QueueId]) -> bool:
        well = True
        while not self._ended and (message := next(queue, None)) is not None:
            claim = await self.store.claim(Stage.READY, message, due_only=False)
            if claim is None:
                continue  # delivered, held or claimed by another process meanwhile
            async with claim:
                progress = self._deliveries.begin(asyncio.current_task())
                settlement = await self.forwarding.forward(claim, progress)
            if progress.stop_run:
                self._ended = True
            well = well and isinstance(settlement, Done)
        return well


def _arrival(entry: Listed) -> tuple[float, ...]:
    """Order by arrival: the groups of a queue id are time, process and count; else by file time."""
    groups = entry.id.split(".")
    if all(group.isascii() and group.isdigit() for group in groups):
        return tuple(float(group) for group in groups)
    return (entry.since * 1000,)
