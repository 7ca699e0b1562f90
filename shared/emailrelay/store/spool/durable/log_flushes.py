"""Syncs the log for an event loop, one flush after another, without a thread that waits.

The next flush has the batches that were written during the one before. A thread does the rest:
batches that could not be written at once, a log that has gone, and systems whose kernel makes no
syncs by itself (``kernel_syncs``).
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from emailrelay.store.spool.durable.log import Log, LogGone, Written
from emailrelay.store.spool.durable.log_shares import Share, show_and_resolve
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes


class LogFlushes:
    """The flushes of the log of one event loop."""

    def __init__(
        self, log: Log, flushes: LoopFlushes, in_thread: Callable[[Sequence[Share]], None]
    ) -> None:
        """``in_thread`` has a thread write what is not written, sync it and show it."""
        self._log, self._flushes, self._in_thread = log, flushes, in_thread
        self._under_way = False
        self._waiting: list[Share] = []
        self._all_ended: asyncio.Future[None] | None = None

    def add(self, shares: Sequence[Share]) -> None:
        """Sync shares that the loop has written as far as it could, then show them."""
        if self._under_way:
            self._waiting += shares
        else:
            self._begin(shares)

    def _begin(self, shares: Sequence[Share]) -> None:
        for share in shares:
            if share.written is None:  # another process was writing
                share.written = self._log.write_now(share.records)
        batches = [share.written for share in shares if share.written is not None]
        open_file = None
        if len(batches) == len(shares) and self._flushes.serves(shares[0].jobs[0].loop):
            open_file = self._log.sync_beside(batches)
        ended = partial(self._ended, shares, batches)
        self._under_way = open_file is not None and self._flushes.sync_alone(open_file, ended)
        if not self._under_way:
            self._in_thread(shares)

    def _ended(
        self, shares: Sequence[Share], batches: Sequence[Written], failed: OSError | None
    ) -> None:
        self._under_way = False
        error = self._log.judge(batches, failed)
        # Begun first: its sync is under way while these are shown.
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self._begin(waiting)
        if isinstance(error, LogGone):
            for share in shares:
                share.take_back()
            self._in_thread(shares)
        else:
            for share in shares:
                share.error = error
            show_and_resolve(shares)
        if self._all_ended is not None and not self._under_way:
            self._all_ended.set_result(None)
            self._all_ended = None

    async def close(self) -> None:
        """Finish what is under way."""
        if self._under_way:
            self._all_ended = asyncio.get_running_loop().create_future()
            await self._all_ended
