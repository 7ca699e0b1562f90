"""Makes files and names durable in batches, in one thread.

A batch is what arrived during the previous batch's syncs; there is no timer. All writes of a batch are
begun at once, then its files and directories are synced side by side, because the kernel merges
flushes that overlap. Files that were removed are closed beside that: with its last close a file gives
back its blocks, which takes longer (0.15-1 ms) than an event loop with many sessions can spare.
"""

import asyncio
import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from emailrelay.store.spool import files

_SIDE_BY_SIDE = 4
"""Threads that sync. More cost more CPU in handing over than they gain, since all writes are begun."""
_LARGEST_BATCH = 512

_Target: TypeAlias = int | str
"""An open file, or the path of a directory."""

Finish: TypeAlias = Callable[[OSError | None], None]
"""What to do once the syncs are through, in the syncing thread; gets the error if one failed."""


_Outcome: TypeAlias = tuple[asyncio.Future[None], Exception | None]


def _raise(error: OSError | None) -> None:
    if error is not None:
        raise error


@dataclass(slots=True)
class _Job:
    files: Sequence[int]
    directories: Sequence[str]
    closing: Sequence[int]
    finish: Finish
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


class Syncer:
    """One thread that syncs for a whole process. Started by the first job, ended by ``close``."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._helpers = ThreadPoolExecutor(_SIDE_BY_SIDE - 1, thread_name_prefix="sync")

    async def run(
        self,
        open_files: Sequence[int],
        directories: Sequence[str],
        finish: Finish = _raise,
        *,
        closing: Sequence[int] = (),
    ) -> None:
        """Sync the data of open files, then the names in directories, then call ``finish``.

        The job goes on when the caller is cancelled: ``finish`` is called exactly once, and the
        descriptors ``closing`` are closed in any case.

        Raises:
            OSError: a sync failed (it is never repeated: the kernel may have dropped the data).
            Exception: whatever ``finish`` raises.

        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        refusal = self._start()
        if refusal is not None:
            _close_each((closing,))
            finish(refusal)
            raise refusal
        self._jobs.put(_Job(open_files, directories, closing, finish, loop, future))
        await future

    def _start(self) -> OSError | None:
        """Start the thread if it does not run; a system that has none left may have one next time."""
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="syncer", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                return OSError(errno.EAGAIN, str(error))
            self._thread = thread
        return None

    def begin(self, open_file: int) -> Future[None]:
        """Start writing a large file back before it is complete."""
        try:
            return self._helpers.submit(os.fdatasync, open_file)
        except RuntimeError:  # no further thread: the commit will do it
            done = Future[None]()
            done.set_result(None)
            return done

    async def close(self) -> None:
        """Finish all jobs."""
        if self._thread is not None:
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._helpers.shutdown()

    def _work(self) -> None:
        while True:
            batch = [self._jobs.get()]
            while batch[-1] is not None and len(batch) < _LARGEST_BATCH:
                try:
                    batch.append(self._jobs.get_nowait())
                except queue.Empty:
                    break
            jobs = [job for job in batch if job is not None]
            self._sync(jobs)
            if len(jobs) < len(batch):
                return

    def _sync(self, jobs: Sequence[_Job]) -> None:
        closings = self._begin_closing([job.closing for job in jobs if job.closing])
        open_files = [fd for job in jobs for fd in job.files]
        _begin_writing(open_files)
        # The directories first: theirs is the longest sync, and never in the same share.
        directories = dict.fromkeys(directory for job in jobs for directory in job.directories)
        failed = self._sync_side_by_side([*directories, *open_files])
        for closing in closings:
            closing.result()
        _finish(jobs, failed)

    def _sync_side_by_side(self, targets: Sequence[_Target]) -> dict[_Target, OSError]:
        shares = [targets[k::_SIDE_BY_SIDE] for k in range(_SIDE_BY_SIDE)]
        others: list[Future[dict[_Target, OSError]]] = []
        own = list(shares[0])
        for share in filter(None, shares[1:]):
            try:
                others.append(self._helpers.submit(_sync_each, share))
            except RuntimeError:  # no further thread, and the syncing one must not end by that
                own += share
        failed = _sync_each(own)
        for other in others:
            failed.update(other.result())
        return failed

    def _begin_closing(self, removed: Sequence[Sequence[int]]) -> list[Future[None]]:
        shares = [removed[k :: _SIDE_BY_SIDE - 1] for k in range(_SIDE_BY_SIDE - 1)]
        closings: list[Future[None]] = []
        for share in filter(None, shares):
            # Without a further thread it waits for the next one, and is never done twice.
            with contextlib.suppress(RuntimeError):
                closings.append(self._helpers.submit(_close_each, share))
        return closings


def _begin_writing(open_files: Sequence[int]) -> None:
    """Have the kernel begin to write, without waiting; its say is heard when they are synced."""
    if hasattr(os, "posix_fadvise"):  # sync_file_range(2) is not to be had
        for descriptor in open_files:
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _sync_each(targets: Sequence[_Target]) -> dict[_Target, OSError]:
    failed: dict[_Target, OSError] = {}
    for target in targets:
        try:
            if isinstance(target, str):
                files.sync_directory(target)
            else:
                os.fdatasync(target)
        except OSError as error:
            failed[target] = error
    return failed


def _close_each(removed: Sequence[Sequence[int]]) -> None:
    for descriptor in chain.from_iterable(removed):
        with contextlib.suppress(OSError):  # of files that are gone: nothing is lost
            os.close(descriptor)


def _finish(jobs: Sequence[_Job], failed: Mapping[_Target, OSError]) -> None:
    outcomes: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for job in jobs:
        error = _first([*job.files, *job.directories], failed)
        outcome: Exception | None = None
        try:
            job.finish(error)
        except Exception as caught:  # noqa: BLE001 - it is the caller's, who waits for it
            outcome = caught
        outcomes.setdefault(job.loop, []).append((job.future, outcome))
    for loop, ended in outcomes.items():
        # Without a loop nobody waits any more, and the work is done.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve_each, ended)


def _first(targets: Sequence[_Target], failed: Mapping[_Target, OSError]) -> OSError | None:
    return next((failed[target] for target in targets if target in failed), None)


def _resolve_each(outcomes: Sequence[_Outcome]) -> None:
    for future, outcome in outcomes:
        _resolve(future, outcome)


def _resolve(future: asyncio.Future[None], outcome: Exception | None) -> None:
    if future.done():  # the waiter was cancelled
        return
    if outcome is None:
        future.set_result(None)
    else:
        future.set_exception(outcome)
