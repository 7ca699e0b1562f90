"""Syncs the log for an event loop, one flush after another, without a thread that waits.

The next flush has the jobs that came during the one before, and writes them as one batch: the log's
lock, its end and a padded block are needed once. A thread does the rest: batches that could not be
written at once, a log that has gone, and systems whose kernel makes no syncs by itself
(``kernel_syncs``).
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from emailrelay.store.spool.durable.jobs import Job
from emailrelay.store.spool.durable.log import Log, LogGone, Written
from emailrelay.store.spool.durable.log_shares import Share, shares_of, show_and_resolve
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes


class LogFlushes:
    """The flushes of the log of one event loop."""

    def __init__(
        self, log: Log, flushes: LoopFlushes, in_thread: Callable[[Sequence[Share]], None]
    ) -> None:
        """``in_thread`` has a thread write what is not written, sync it and show it."""
        self._log, self._flushes, self._in_thread = log, flushes, in_thread
        self._under_way = False
        self._waiting: list[Job] = []
        self._all_ended: asyncio.Future[None] | None = None

    def add(self, jobs: Sequence[Job]) -> None:
        """Write the records of jobs, sync them, then finish the jobs."""
        self._waiting += jobs
        if not self._under_way:
            self._begin()

    def _begin(self) -> None:
        jobs, self._waiting = self._waiting, []
        shares = list(shares_of(jobs))
        if not shares:
            return
        for share in shares:
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
            self._begin()
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
