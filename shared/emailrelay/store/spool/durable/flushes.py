"""Syncs batches of files in a few threads, one for each flush that is under way.

With no flush under way, what waits is flushed at once. Else it waits for the end of a flush: the
next batch is what has come during it. When nearly all clients wait, a loop that has nothing else to
do begins a further flush beside the others, if the disk gains by it (``flush_depth``). Else larger
batches take less of the processor's time.
"""

import errno
import queue
import threading
import time
from collections.abc import Sequence

from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.disk.sync_threads import SyncThreads
from emailrelay.store.spool.durable.flush_depth import FlushDepth
from emailrelay.store.spool.durable.jobs import (
    Job,
    Synced,
    finish_in_loop,
    finish_jobs,
    first_error,
    tell_loops,
)

_NEARLY_ALL = 0.8
"""Share of that from which on the clients are taken to wait."""
_FLUSH, _END = "flush", ""


class Flushes:
    """The jobs of a process that wait for a flush, and the threads that flush them."""

    def __init__(self, beside: SyncThreads) -> None:
        self._beside = beside
        self._wholes: Sequence[FileSystem | None] = (None,)
        self._depth = FlushDepth(1)
        self._one = threading.Lock()
        """Held by a thread that changes or looks at the following."""
        self._waiting: list[Job] = []
        self._under_way = self._flushing = 0
        """Flushes, and the jobs in them."""
        self._crowd = 0.0
        """The usual most of the jobs that wait or are flushed: the clients, more or less."""
        self._threads: list[threading.Thread] = []
        self._begin: queue.SimpleQueue[str] = queue.SimpleQueue()
        """A word for each flush that a thread is to begin, an empty one to end the thread."""
        self._idle = False
        """The loop has nothing else to do, and the jobs wait only for the disk."""

    def lie_on(self, wholes: Sequence[FileSystem]) -> None:
        """Set the file system of all files, opened once for each flush that may be under way.

        The kernel reports an error once to each open file, so flushes that overlap must not share
        one.
        """
        self._wholes, self._depth = wholes, FlushDepth(len(wholes))

    def start(self) -> OSError | None:
        """Start the first thread, if it does not run. The next job tries again if that fails."""
        return None if self._threads else self._start_thread()

    def _start_thread(self) -> OSError | None:
        number = len(self._threads)
        thread = threading.Thread(
            target=self._work, args=(self._wholes[number],), name=f"flush {number}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:
            return OSError(errno.EAGAIN, str(error))
        self._threads.append(thread)
        return None

    def add(self, jobs: Sequence[Job]) -> bool:
        """Add jobs; return True if they wait for the end of a flush."""
        with self._one:
            self._waiting += jobs
            self._idle = False
            waits = self._under_way > 0
            if not waits:
                self._under_way = 1
        if not waits:
            self._begin.put(_FLUSH)
        return waits

    def begin_another(self) -> None:
        """Begin a further flush of the jobs that wait, if that pays. The loop is idle."""
        with self._one:
            if len(self._waiting) + self._flushing < _NEARLY_ALL * self._crowd:
                return
            self._idle = bool(self._waiting) and not self._depth.allows(self._under_way)
            begins = bool(self._waiting) and not self._idle
            missing = self._under_way >= len(self._threads)
        # Without a further thread the jobs wait for the end of a flush.
        if not begins or (missing and self._start_thread() is not None):
            return
        with self._one:
            self._under_way += 1
        self._begin.put(_FLUSH)

    def waits(self) -> bool:
        """Tell if jobs wait."""
        return bool(self._waiting)

    def _work(self, whole: FileSystem | None) -> None:
        while self._begin.get():
            jobs, others = self._take(begins=True)
            while jobs:
                ended = self._flush(jobs, whole, others)
                # Taken before the loop hears of the end: a client's next job is for a free thread.
                jobs, others = self._take(len(jobs))
                finish_in_loop([each for each in ended if not each[0].blocks])
                tell_loops(finish_jobs([each for each in ended if each[0].blocks]))

    def _take(self, done: int = 0, *, begins: bool = False) -> tuple[list[Job], int]:
        """Take the jobs that wait, for a flush beside the returned number of others.

        None: this flush ends. Nothing waits, or not all clients do and another flush will end.
        """
        with self._one:
            self._flushing -= done
            if not self._waiting or not (begins or self._under_way == 1 or self._idle):
                self._under_way -= 1
                return [], 0
            jobs, self._waiting, self._idle = self._waiting, [], False
            self._flushing += len(jobs)
            self._crowd += max(self._flushing - self._crowd, (self._flushing - self._crowd) / 8)
            return jobs, self._under_way - 1

    def _flush(
        self, jobs: Sequence[Job], whole: FileSystem | None, others: int
    ) -> Sequence[Synced]:
        began = time.monotonic()
        closings = self._beside.close_files([job.closing for job in jobs if job.closing])
        targets = [target for job in jobs for target in job.targets]
        failed = self._beside.sync(targets, whole, beside=others > 0, devices=_devices(jobs))
        for closing in closings:
            closing.result()
        if targets:
            self._depth.took(others, time.monotonic() - began)
        return [(job, first_error(job.targets, failed)) for job in jobs]

    def close(self) -> None:
        """Finish all jobs, and end the threads. Blocks."""
        for _ in self._threads:
            self._begin.put(_END)
        for thread in self._threads:
            thread.join()
        self._threads = []


def _devices(jobs: Sequence[Job]) -> dict[int, int]:
    """Return the devices of open files, as far as they are known."""
    return {
        target: job.device
        for job in jobs
        if job.device is not None
        for target in job.targets
        if isinstance(target, int)
    }
