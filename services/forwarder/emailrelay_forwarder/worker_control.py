"""Changes to a running worker: new settings, polling, and the flush command."""

import asyncio
from collections.abc import Callable

from emailrelay_forwarder.delivery.forwarding import Forwarding
from emailrelay_forwarder.worker import ForwarderWorker


class WorkerControl:
    """Controls one worker.

    ``wake`` makes all deferred mail due, for the whole pool of the worker.
    """

    def __init__(
        self, worker: ForwarderWorker, wake: Callable[[], None], poll: float | None
    ) -> None:
        """Start to poll (every ``poll`` seconds; None: never)."""
        self._worker, self._wake = worker, wake
        self._closing: set[asyncio.Task[None]] = set()
        self._polling: asyncio.Task[None] | None = None
        self._poll_every(poll)

    def flush(self) -> None:
        """Try everything now, in spite of all pauses: the operator asks for it."""
        self._worker.forwarding.try_now()
        self._worker.feed.wake()

    def follow(self, forwarding: Forwarding, poll: float | None, *, tasks: int) -> None:
        """Use these for the next messages; messages under way keep the old ones."""
        self._worker.forward_at_once(tasks)
        before, self._worker.forwarding = self._worker.forwarding, forwarding
        if before.paused:
            # Otherwise the mail that it has turned away would not become due again.
            self._wake()
        # Sessions in use stay open, and are closed after they have been idle for a while.
        closing = asyncio.create_task(before.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._poll_every(poll)

    async def end(self) -> None:
        """Close the sessions with all servers."""
        if self._polling is not None:
            self._polling.cancel()
        await asyncio.gather(self._worker.forwarding.close(), *self._closing)

    def _poll_every(self, period: float | None) -> None:
        if self._polling is not None:
            self._polling.cancel()
        self._polling = asyncio.create_task(self._poll(period)) if period else None

    async def _poll(self, period: float) -> None:
        while True:
            await asyncio.sleep(period)
            # The mail of a paused server would only be turned away once more.
            if not self._worker.forwarding.paused:
                self._wake()
