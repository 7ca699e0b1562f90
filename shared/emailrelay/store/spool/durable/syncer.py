"""Syncs files, directories and the log in batches.

A batch holds the jobs of one turn of the loop, and those that arrived during the syncs before;
there is no timer. A job names files and directories, which the kernel syncs (``loop_flushes``), or
threads where it cannot (``flushes``). Or it has a record for the log, where one sync serves a whole
batch (``log_flushes``). The loop writes the records, if it need not wait, and makes the files
visible after the sync: each further system call in a thread would cost both a wait for the
interpreter.

A commit that has been alone for some time is not collected: its syncs begin at once, and the loop
stands still for them. So a single client needs no further turns of the loop.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from emailrelay.errors import RelayError
from emailrelay.running_loop import running_loop
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.disk.sync_threads import SyncThreads, close_each
from emailrelay.store.spool.disk.work_thread import WorkThread
from emailrelay.store.spool.durable.flushes import Flushes
from emailrelay.store.spool.durable.jobs import Finish, Job, raise_error
from emailrelay.store.spool.durable.log import Log, LogGone
from emailrelay.store.spool.durable.log_flushes import LogFlushes
from emailrelay.store.spool.durable.log_shares import (
    Share,
    refusal,
    show,
    show_and_resolve,
)
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes
from emailrelay.store.spool.durable.records import Record

_LARGEST_BATCH = 512
_LONE = 8
"""Batches of one job in a row, with no sync beside them, after which the next commit is taken for
one alone: with several clients at work they are rarer."""
_TOO_SLOW = 5
"""As many more of them after a sync for which the loop has stood still too long."""
_LOOK = 5.0
"""Seconds between checks for a checkpoint of the log."""
_BEHIND = 3
"""Closed segments that bring such a check forward."""


class Syncer:
    """Syncs for a whole process. Threads are started by the first jobs, and ended by ``close``."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.checkpoint: Callable[[], bool] | None = None
        """Removes segments that are not needed; returns True if any are left."""
        self.begin_again: Callable[[], None] | None = None
        """Begins a new log if the present one was removed or replaced."""
        self._logged = False
        self._next_look = 0.0
        self._looking = threading.Lock()
        self._jobs: queue.SimpleQueue[Sequence[Share] | None] = queue.SimpleQueue()
        self._records: list[Job] = []
        self._for_kernel: list[Job] = []
        self._for_threads: list[Job] = []
        """The jobs of this turn of the loop, by their way: handed over together, they need one
        flush, and wake a thread once."""
        self._soon = False
        """They are handed over soon."""
        self._lone = 0
        """Batches of one job in a row, with no sync beside them."""
        self._thread = WorkThread("syncer", self._work, partial(self._jobs.put, None))
        self._beside = SyncThreads()
        self._flushes = Flushes(self._beside)
        self._in_loop = LoopFlushes()
        self._log_flushes = LogFlushes(log, self._in_loop, self._jobs.put)

    def lies_on(self, whole: FileSystem) -> None:
        """Set the file system of all files."""
        self._flushes.whole = whole

    def run(
        self,
        open_files: Sequence[int],
        directories: Sequence[Directory],
        finish: Finish = raise_error,
        *,
        closing: Sequence[int] = (),
        blocks: bool = False,
        device: int | None = None,
        urgent: bool = False,
    ) -> Coroutine[Any, Any, None]:
        """Sync the data of open files and the names in directories, then call ``finish``.

        ``device``: that of all open files, if it is known. ``urgent``: a client waits for it.

        ``finish`` is called exactly once: in the loop, or in the syncing thread if it ``blocks``;
        the two delay each other at each system call. The descriptors ``closing`` are closed in any
        case. A cancelled caller waits for all that, so it cannot close a file before its sync.

        Raises:
            OSError: a sync failed (it is never repeated: the kernel may have dropped the data).
            Exception: whatever ``finish`` raises.

        """
        loop = running_loop()
        return self._do(
            Job(
                targets=[*open_files, *directories],
                closing=closing,
                finish=finish,
                blocks=blocks,
                device=device,
                urgent=urgent,
                loop=loop,
                future=loop.create_future(),
            )
        )

    def log(
        self, record: Callable[[], Record], finish: Finish = raise_error, *, urgent: bool = False
    ) -> Coroutine[Any, Any, None]:
        """Put a record into the log, sync it, then call ``finish`` in the loop; else as ``run``.

        No checkpoint is made before ``finish`` has ended.
        """
        loop = running_loop()
        future = loop.create_future()
        return self._do(Job(record=record, finish=finish, urgent=urgent, loop=loop, future=future))

    async def _do(self, job: Job) -> None:
        """Do a job to its end, also if the caller is cancelled."""
        self._begin(job)
        try:
            await job.future
        except asyncio.CancelledError:
            if job.future.cancelled() and not job.ended:
                job.future = job.loop.create_future()  # the cancelled await has cancelled the first
            while not job.future.done():
                with contextlib.suppress(
                    asyncio.CancelledError
                ):  # cancelled again: the first one is raised below
                    await asyncio.wait((job.future,))
            if not job.future.cancelled():
                job.future.exception()  # no caller is left to raise it in
            raise

    def _begin(self, job: Job) -> None:
        if job.record is not None:
            row, refusal = self._records, self._thread.start()
        elif self._in_loop.takes(job):
            row, refusal = self._for_kernel, None
        else:
            row, refusal = self._for_threads, self._flushes.start()
        if refusal is not None:
            close_each((job.closing,))
            job.finish(refusal)
            raise refusal
        row.append(job)
        if self._soon:
            self._lone = 0
            return
        self._soon = True
        job.loop.call_soon(self._end_turn)
        if job.urgent and self._lone >= _LONE and self._in_loop.idle:
            self._hand_over()
            if not self._in_loop.wait():
                self._lone = _LONE - _TOO_SLOW

    def _end_turn(self) -> None:
        self._soon = False
        jobs = len(self._records) + len(self._for_kernel) + len(self._for_threads)
        if jobs:
            self._lone = self._lone + 1 if jobs == 1 and self._in_loop.idle else 0
            self._hand_over()

    def _hand_over(self) -> None:
        if self._records:
            records, self._records = self._records, []
            self._log_flushes.add(records)
            self._look_after_the_log()
        if self._for_kernel:
            jobs, self._for_kernel = self._for_kernel, []
            self._in_loop.add(jobs)
        if self._for_threads:
            jobs, self._for_threads = self._for_threads, []
            self._flushes.add(jobs)

    def _look_after_the_log(self) -> None:
        """Wake the thread that looks for checkpoints, if it is asleep or the log grows fast."""
        if not self._logged:
            self._logged, self._next_look = True, time.monotonic() + _LOOK
            self._jobs.put(())
        elif self._log.behind > _BEHIND:
            self._jobs.put(())

    def begin(self, open_file: int) -> Future[None]:
        """Start writing a large file back before it is complete."""
        return self._beside.begin(open_file)

    async def close_files(self, removed: Sequence[int]) -> None:
        """Close removed files in another thread, also if the caller is cancelled."""
        closings = self._beside.close_files((removed,))
        if not closings:
            close_each((removed,))
        for closing in closings:
            await asyncio.shield(asyncio.wrap_future(closing))

    async def close(self) -> None:
        """Finish all jobs."""
        self._hand_over()
        await self._log_flushes.close()
        await self._in_loop.close()
        await asyncio.to_thread(self._thread.stop)
        await asyncio.to_thread(self._flushes.close)
        self._beside.shutdown()

    def _work(self) -> None:
        while True:
            batch = self._batch()
            self._make_durable([share for shares in filter(None, batch) for share in shares])
            if batch and batch[-1] is None:
                return
            if self._logged and (time.monotonic() >= self._next_look or self._log.behind > _BEHIND):
                self._next_look = time.monotonic() + _LOOK
                self._beside.beside(self.look)

    def _batch(self) -> list[Sequence[Share] | None]:
        """Wait for jobs; return none when it is time for a checkpoint."""
        batch: list[Sequence[Share] | None] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._jobs.get(timeout=_LOOK if self._logged else None))
            while batch[-1] is not None and len(batch) < _LARGEST_BATCH:
                batch.append(self._jobs.get_nowait())
        return batch

    def look(self) -> None:
        """Make a checkpoint of the log if it needs one. Blocks; for a thread."""
        if self.checkpoint is not None and self._looking.acquire(blocking=False):
            try:
                self._logged = self.checkpoint()
            finally:
                self._looking.release()

    def _make_durable(self, shares: Sequence[Share]) -> None:
        """Sync the records that the loop has written, and write the others before."""
        if not shares:
            return
        self._write_and_sync(shares)
        lost = [share for share in shares if isinstance(share.error, LogGone)]
        if lost:
            self._begin_anew()
            for share in lost:
                share.take_back()
            self._write_and_sync(lost)
        try:
            # A process has one loop at a time that uses this spool.
            shares[0].jobs[0].loop.call_soon_threadsafe(show_and_resolve, shares)
        except RuntimeError:  # see ``finish_in_loop``
            show(shares)

    def _write_and_sync(self, shares: Sequence[Share]) -> None:
        for share in shares:
            if share.written is None:
                try:
                    share.written = self._log.write(share.records)
                except (OSError, MemoryError) as error:
                    share.error = refusal(error)
        failed = self._log.sync([share.written for share in shares if share.written is not None])
        for share in shares:
            if share.written is not None:
                share.error = failed.get(share.written.segment)

    def _begin_anew(self) -> None:
        """Begin a new log. If that fails, the next write to it raises the reason."""
        if self.begin_again is not None:
            with contextlib.suppress(OSError, RelayError):
                self.begin_again()
