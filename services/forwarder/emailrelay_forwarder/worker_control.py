"""What may change while a worker runs: its dealings with servers, how often it looks again."""

import asyncio
from collections.abc import Callable

from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.worker import ForwarderWorker, polling


class WorkerControl:
    """Steers one worker. ``wake`` makes all deferred mail due, for the worker's whole pool."""

    def __init__(
        self, worker: ForwarderWorker, wake: Callable[[], None], poll: float | None
    ) -> None:
        """Begin to poll (every ``poll`` seconds; None: never)."""
        self._worker, self._wake = worker, wake
        self._parting: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None
        self._poll_every(poll)

    def flush(self) -> None:
        """Try everything now: somebody knows better than our pauses."""
        self._worker.forwarding.try_now()
        self._worker.feed.wake()

    def follow(self, forwarding: Forwarding, poll: float | None) -> None:
        """Use these for the messages that follow; what is under way ends as it began."""
        before, self._worker.forwarding = self._worker.forwarding, forwarding
        if before.paused:
            # What it has turned away nobody would call back any more.
            self._wake()
        # Sessions in use stay, and are closed when they have been idle for a while.
        parting = asyncio.create_task(before.close())
        self._parting.add(parting)
        parting.add_done_callback(self._parting.discard)
        self._poll_every(poll)

    async def end(self) -> None:
        """Part from all servers."""
        if self._polling is not None:
            self._polling.cancel()
        await asyncio.gather(self._worker.forwarding.close(), *self._parting)

    def _poll_every(self, period: float | None) -> None:
        if self._polling is not None:
            self._polling.cancel()
        look = polling(period, self._look_again) if period else None
        self._polling = asyncio.create_task(look) if look else None

    def _look_again(self) -> None:
        # Mail of a server that is away would be turned away once more, for nothing.
        if not self._worker.forwarding.paused:
            self._wake()
