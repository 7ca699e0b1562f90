"""Syncs batches of files in a thread, one after the other: what the kernel does not do by itself.

These are jobs that close large removed files or wait for a write-back, and all jobs where the
kernel makes no syncs for an event loop (``loop_flushes``). What waits is flushed at once. The next
batch is what has come during the flush.
"""

import queue
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.disk.sync_threads import SyncThreads
from emailrelay.store.spool.disk.work_thread import WorkThread
from emailrelay.store.spool.durable.jobs import (
    Job,
    Synced,
    finish_in_loop,
    finish_jobs,
    first_error,
    tell_loops,
)


class Flushes:
    """The jobs of a process that wait for a flush, and the thread that flushes them."""

    def __init__(self, beside: SyncThreads) -> None:
        self.whole: FileSystem | None = None
        """The file system of all files."""
        self._beside = beside
        self._jobs: queue.SimpleQueue[Sequence[Job] | None] = queue.SimpleQueue()
        """None ends the thread."""
        self._thread = WorkThread("flush", self._work, partial(self._jobs.put, None))

    def start(self) -> OSError | None:
        """Start the thread, if it does not run. The next job tries again if that fails."""
        return self._thread.start()

    def add(self, jobs: Sequence[Job]) -> None:
        """Add jobs; the thread runs."""
        self._jobs.put(jobs)

    def _work(self) -> None:
        goes_on = True
        while goes_on:
            batch = [self._jobs.get()]
            with suppress(queue.Empty):
                while batch[-1] is not None:
                    batch.append(self._jobs.get_nowait())
            goes_on = batch[-1] is not None
            ended = self._flush([job for jobs in batch if jobs is not None for job in jobs])
            finish_in_loop([each for each in ended if not each[0].blocks])
            tell_loops(finish_jobs([each for each in ended if each[0].blocks]))

    def _flush(self, jobs: Sequence[Job]) -> Sequence[Synced]:
        closings = self._beside.close_files([job.closing for job in jobs if job.closing])
        targets = [target for job in jobs for target in job.targets]
        failed = self._beside.sync(targets, self.whole, devices=_devices(jobs))
        for closing in closings:
            closing.result()
        return [(job, first_error(job.targets, failed)) for job in jobs]

    def close(self) -> None:
        """Finish all jobs, and end the thread. Blocks."""
        self._thread.stop()


def _devices(jobs: Sequence[Job]) -> dict[int, int]:
    """Return the devices of open files, as far as they are known."""
    return {
        target: job.device
        for job in jobs
        if job.device is not None
        for target in job.targets
        if isinstance(target, int)
    }
