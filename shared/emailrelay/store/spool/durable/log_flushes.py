"""Syncs the log for an event loop, one flush after another, without a thread that waits.

The next flush has the jobs that came during the one before, and writes them as one batch: the log's
lock, its end and a padded block are needed once. While another process writes to the log, a batch
waits for the next turns of the loop. A thread does the rest: batches that still could not be
written, a log that has gone, and systems whose kernel makes no syncs by itself (``kernel_syncs``).
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from emailrelay.store.spool.durable.jobs import Job
from emailrelay.store.spool.durable.log import Log, LogGone, Written
from emailrelay.store.spool.durable.log_shares import Share, shares_of, show_and_resolve
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes

_LATER_TURNS = 4
"""The turns of the loop in which a batch is tried again. A thread costs more: thread and loop wait
for each other at each system call."""


class LogFlushes:
    """The flushes of the log of one event loop."""

    def __init__(
        self, log: Log, flushes: LoopFlushes, in_thread: Callable[[Sequence[Share]], None]
    ) -> None:
        """``in_thread`` has a thread write what is not written, sync it and show it."""
        self._log, self._flushes, self._in_thread = log, flushes, in_thread
        self._under_way = False
        """True: a batch is being written or synced, and further jobs wait."""
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
        if shares:
            self._write(shares, _LATER_TURNS)

    def _write(self, shares: Sequence[Share], later_turns: int) -> None:
        """Write the rest and begin the sync, or leave both to a later turn or to a thread."""
        loop = shares[0].jobs[0].loop
        for share in shares:
            if share.written is None:
                share.written = self._log.write_now(share.records)
        batches = [share.written for share in shares if share.written is not None]
        open_file = None
        if self._flushes.serves(loop):
            if len(batches) == len(shares):
                open_file = self._log.sync_beside(batches)
            elif later_turns:
                self._under_way = True
                loop.call_soon(self._write, shares, later_turns - 1)
                return
        ended = partial(self._ended, shares, batches)
        self._under_way = open_file is not None and self._flushes.sync_alone(open_file, ended)
        if not self._under_way:
            self._in_thread(shares)
            self._begin()
            self._note_the_end()

    def _note_the_end(self) -> None:
        if self._all_ended is not None and not self._under_way:
            self._all_ended.set_result(None)
            self._all_ended = None

    def _ended(
        self, shares: Sequence[Share], batches: Sequence[Written], failed: OSError | None
    ) -> None:
        self._under_way = False
        error = self._log.judge(batches, failed)
        # Begun first: its sync is under way while these are shown.
        self._begin()
        if isinstance(error, LogGone):
            for share in shares:
                share.take_back()
            self._in_thread(shares)
        else:
            for share in shares:
                share.error = error
            show_and_resolve(shares)
        self._note_the_end()

    async def close(self) -> None:
        """Finish what is under way."""
        if self._under_way:
            self._all_ended = asyncio.get_running_loop().create_future()
            await self._all_ended
