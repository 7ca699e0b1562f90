"""The work of one forwarder process: claim ready mail, forward it, and drain at the end."""

import asyncio
from dataclasses import dataclass, field

from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble
from emailrelay.store.feed import Feed
from emailrelay_forwarder.delivery.drain import Deliveries
from emailrelay_forwarder.delivery.forwarding import Forwarding

_STORE_PAUSE = 1.0


@dataclass(slots=True, kw_only=True)
class ForwarderWorker:
    """Forwards the mail of ``feed``, at most ``tasks`` messages at a time."""

    feed: Feed
    forwarding: Forwarding
    report: Report
    tasks: int
    grace: float
    """Seconds to wait for the answers to final dots when the process is stopped."""
    _deliveries: Deliveries = field(init=False, default_factory=Deliveries)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; then claim nothing more, and see ``Deliveries.drain``."""
        tasks = {asyncio.create_task(self._forward_on(stop)) for _ in range(self.tasks)}
        stopping = asyncio.create_task(stop.wait())
        try:
            # A task ends early only because of a bug, which ends the process with a traceback.
            await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            self.feed.take_no_more()
            await self._deliveries.drain(tasks, self.grace)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def _forward_on(self, stop: asyncio.Event) -> None:
        task = asyncio.current_task()
        while not stop.is_set():
            try:
                claim = await self.feed.claim()
            except StoreError as error:
                self.report(StoreTrouble(doing="looking for mail", reason=str(error)))
                await asyncio.sleep(_STORE_PAUSE)
                continue
            async with claim:
                await self.forwarding.forward(claim, self._deliveries.begin(task))
