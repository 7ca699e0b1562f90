"""The work of one forwarder process: claim ready mail, forward it, and drain at the end."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

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
    _running: set[asyncio.Task[None]] = field(init=False, default_factory=set[asyncio.Task[None]])
    _stop: asyncio.Event | None = field(init=False, default=None)
    """Set when the process is stopped; None: the work has not begun."""
    _ending: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop``; then claim nothing more, and see ``Deliveries.drain``."""
        self._stop = stop
        self._begin(stop)
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(self._end)
        try:
            await self._ending.wait()
        finally:
            self._ending.set()
            stopping.cancel()
            self.feed.take_no_more()
            await self._deliveries.drain(self._running, self.grace)
        for task in self._running:
            if not task.cancelled():
                task.result()

    def forward_at_once(self, messages: int) -> None:
        """Forward so many messages at a time from now on, or more if there were more before."""
        self.tasks = max(messages, self.tasks)
        if self._stop is not None and not self._ending.is_set():
            self._begin(self._stop)

    def _begin(self, stop: asyncio.Event) -> None:
        for _ in range(self.tasks - len(self._running)):
            task = asyncio.create_task(self._forward_on(stop))
            # A task ends early only because of a bug, which ends the process with a traceback.
            task.add_done_callback(self._end)
            self._running.add(task)

    def _end(self, _task: asyncio.Task[Any]) -> None:
        self._ending.set()

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
