"""Makes what happens to messages durable, in batches, in one thread.

A batch is what one turn of the loop hands over, and what arrived during the previous batch's syncs; there is
no timer. A job either names files and directories, or has a record for the log, where one sync serves the
whole batch. The loop writes records, if nothing need be waited for, and does what comes behind the sync;
the thread waits for the disk. Each of its own system calls would cost both a wait for the interpreter.
"""

import asyncio
import contextlib
import errno
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from emailrelay.errors import RelayError
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.disk.sync_threads import SyncThreads, Target, close_each
from emailrelay.store.spool.durable import records
from emailrelay.store.spool.durable.log import LARGEST_BATCH, Log, LogGone, Written
from emailrelay.store.spool.durable.records import Record

_LARGEST_BATCH = 512
_LOOK = 5.0
"""Seconds between looks whether the log needs a checkpoint."""
_BEHIND = 3
"""Closed segments that bring such a look forward."""

_T = TypeVar("_T")

Finish: TypeAlias = Callable[[OSError | None], None]
"""What to do once the syncs are through; gets the error if one failed."""


def _raise(error: OSError | None) -> None:
    if error is not None:
        raise error


@dataclass(slots=True, kw_only=True)
class _Job:
    finish: Finish
    targets: Sequence[Target] = ()
    closing: Sequence[int] = ()
    record: Callable[[], Record] | None = None
    blocks: bool = False
    """Whether ``finish`` is called in the syncing thread, not in the loop."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]
    ended: bool = False


_Synced: TypeAlias = tuple[_Job, OSError | None]
_Outcome: TypeAlias = tuple[_Job, Exception | None]


@dataclass(slots=True, kw_only=True)
class _Share:
    """Jobs whose records go into the log together."""

    jobs: list[_Job]
    records: list[Record]
    written: Written | None = None
    error: OSError | None = None

    def take_back(self) -> None:
        """Be as before anything was written."""
        written, self.written, self.error = self.written, None, None
        if written is not None:
            written.shown()


class _Handed(NamedTuple):
    """What a turn of the loop hands over."""

    jobs: Sequence[_Job]
    shares: Sequence[_Share]


class Syncer:
    """One thread that syncs for a whole process. Started by the first job, ended by ``close``."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.checkpoint: Callable[[], bool] | None = None
        """Takes what can go out of the log, and tells whether anything is left in it."""
        self.come_again: Callable[[], None] | None = None
        """Begins the log anew where it was removed or replaced."""
        self._logged = False
        self._next_look = 0.0
        self._looking = threading.Lock()
        self._jobs: queue.SimpleQueue[_Handed | None] = queue.SimpleQueue()
        self._gathered: list[_Job] = []
        """What this turn of the loop is to have done: handed over together, the thread is woken once."""
        self._thread: threading.Thread | None = None
        self._beside = SyncThreads()

    def lies_on(self, whole: FileSystem) -> None:
        """Note the file system that all files lie on: its sync serves many of them."""
        self._beside.whole = whole

    async def run(
        self,
        open_files: Sequence[int],
        directories: Sequence[Directory],
        finish: Finish = _raise,
        *,
        closing: Sequence[int] = (),
        blocks: bool = False,
    ) -> None:
        """Sync the data of open files and the names in directories, then call ``finish``.

        ``finish`` is called exactly once: in the loop, or in the syncing thread if it ``blocks``, since the
        two get in each other's way at every system call of either. The descriptors ``closing`` are closed in any case. A
        caller that is cancelled waits for that, so it cannot close a file that is still to be synced.

        Raises:
            OSError: a sync failed (it is never repeated: the kernel may have dropped the data).
            Exception: whatever ``finish`` raises.

        """
        loop = asyncio.get_running_loop()
        targets: list[Target] = [*open_files, *directories]
        await self._do(
            _Job(
                targets=targets,
                closing=closing,
                finish=finish,
                blocks=blocks,
                loop=loop,
                future=loop.create_future(),
            )
        )

    async def log(self, record: Callable[[], Record], finish: Finish = _raise) -> None:
        """Have a record in the log on stable storage, then call ``finish``, in the loop; as ``run`` in all else.

        No checkpoint is made before ``finish`` has ended.
        """
        loop = asyncio.get_running_loop()
        await self._do(_Job(record=record, finish=finish, loop=loop, future=loop.create_future()))

    async def _do(self, job: _Job) -> None:
        """Have a job done, whether the caller is cancelled or not."""
        self._begin(job)
        try:
            await job.future
        except asyncio.CancelledError:
            if job.future.cancelled() and not job.ended:
                job.future = job.loop.create_future()  # the first went with the caller's patience
            while not job.future.done():
                with contextlib.suppress(
                    asyncio.CancelledError
                ):  # cancelled again: the first is told
                    await asyncio.wait((job.future,))
            if not job.future.cancelled():
                job.future.exception()  # nobody is left to hear of it
            raise

    def _begin(self, job: _Job) -> None:
        refusal = self._start()
        if refusal is not None:
            close_each((job.closing,))
            job.finish(refusal)
            raise refusal
        self._gathered.append(job)
        if len(self._gathered) == 1:
            job.loop.call_soon(self._hand_over)

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        shares = list(_shares(gathered))
        for share in shares:
            share.written = self._log.write_now(share.records)
        self._jobs.put(_Handed([job for job in gathered if job.record is None], shares))

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
        return self._beside.begin(open_file)

    async def close_files(self, removed: Sequence[int]) -> None:
        """Close files that were removed, in another thread, whether the caller is cancelled or not."""
        closings = self._beside.close_files((removed,))
        if not closings:
            close_each((removed,))
        for closing in closings:
            await asyncio.shield(asyncio.wrap_future(closing))

    async def close(self) -> None:
        """Finish all jobs."""
        if self._thread is not None:
            self._hand_over()
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
        self._beside.shutdown()

    def _work(self) -> None:
        while True:
            batch = self._batch()
            self._sync([job for handed in filter(None, batch) for job in handed.jobs])
            self._make_durable([share for handed in filter(None, batch) for share in handed.shares])
            if batch and batch[-1] is None:
                return
            if self._logged and (time.monotonic() >= self._next_look or self._log.behind > _BEHIND):
                self._next_look = time.monotonic() + _LOOK
                self._beside.beside(self.look)

    def _batch(self) -> list[_Handed | None]:
        """Wait for jobs; there are none when it is time to look at the log."""
        batch: list[_Handed | None] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._jobs.get(timeout=_LOOK if self._logged else None))
            while batch[-1] is not None and len(batch) < _LARGEST_BATCH:
                batch.append(self._jobs.get_nowait())
        return batch

    def look(self) -> None:
        """Look whether the log needs a checkpoint, and make it. Blocks; for a thread."""
        if self.checkpoint is not None and self._looking.acquire(blocking=False):
            try:
                self._logged = self.checkpoint()
            finally:
                self._looking.release()

    def _sync(self, jobs: Sequence[_Job]) -> None:
        if jobs:
            closings = self._beside.close_files([job.closing for job in jobs if job.closing])
            failed = self._beside.sync([target for job in jobs for target in job.targets])
            for closing in closings:
                closing.result()
            ended = [(job, _first(job.targets, failed)) for job in jobs]
            _finish_in_loop([each for each in ended if not each[0].blocks])
            _tell(_finish([each for each in ended if each[0].blocks]))

    def _make_durable(self, shares: Sequence[_Share]) -> None:
        """Put on stable storage what the loop has written into the log, and write what it could not."""
        if not shares:
            return
        if not self._logged:
            self._logged, self._next_look = True, time.monotonic() + _LOOK
        self._write_and_sync(shares)
        lost = [share for share in shares if isinstance(share.error, LogGone)]
        if lost:
            self._begin_anew()
            for share in lost:
                share.take_back()
            self._write_and_sync(lost)
        try:
            # A process has one loop at a time that uses this spool.
            shares[0].jobs[0].loop.call_soon_threadsafe(_show_and_tell, shares)
        except RuntimeError:  # see ``_finish_in_loop``
            _show(shares)

    def _write_and_sync(self, shares: Sequence[_Share]) -> None:
        for share in shares:
            if share.written is None:
                try:
                    share.written = self._log.write(share.records)
                except (OSError, MemoryError) as error:
                    share.error = _refusal(error)
        failed = self._log.sync([share.written for share in shares if share.written is not None])
        for share in shares:
            if share.written is not None:
                share.error = failed.get(share.written.segment)

    def _begin_anew(self) -> None:
        """Begin the log anew; if there can be none now, what is written to it next tells why."""
        if self.come_again is not None:
            with contextlib.suppress(OSError, RelayError):
                self.come_again()


def _shares(jobs: Sequence[_Job]) -> Iterator[_Share]:
    """Give the jobs that have records, with these, as much as a batch of the log takes at a time."""
    share, length = _Share(jobs=[], records=[]), 0
    for job in jobs:
        if job.record is None:
            continue
        try:
            record = job.record()
        except (OSError, MemoryError) as error:
            _resolve(_finish([(job, _refusal(error))]))
            continue
        share.jobs.append(job)
        share.records.append(record)
        length += records.size(record)
        if length >= LARGEST_BATCH:
            yield share
            share, length = _Share(jobs=[], records=[]), 0
    if share.jobs:
        yield share


def _refusal(error: OSError | MemoryError) -> OSError:
    return error if isinstance(error, OSError) else OSError(errno.ENOMEM, "no memory for the log")


def _first(targets: Sequence[Target], failed: dict[Target, OSError]) -> OSError | None:
    return next((failed[target] for target in targets if target in failed), None)


def _finish(jobs: Sequence[_Synced]) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    for job, error in jobs:
        outcome: Exception | None = None
        try:
            job.finish(error)
        except Exception as caught:  # noqa: BLE001 - it is the caller's, who waits for it
            outcome = caught
        outcomes.append((job, outcome))
    return outcomes


def _finish_in_loop(synced: Sequence[_Synced]) -> None:
    """Have each loop finish all its jobs, in one turn."""
    for loop, jobs in _by_loop(synced).items():
        try:
            loop.call_soon_threadsafe(_finish_here, jobs)
        except (
            RuntimeError
        ):  # its loop is closed: nobody waits any more, but the work is to be done
            _finish(jobs)


def _finish_here(synced: Sequence[_Synced]) -> None:
    _resolve(_finish(synced))


def _show(shares: Sequence[_Share]) -> list[_Outcome]:
    """Make the messages' files show what the log says."""
    outcomes: list[_Outcome] = []
    for share in shares:
        outcomes += _finish([(job, share.error) for job in share.jobs])
        if share.written is not None:
            share.written.shown()
    return outcomes


def _show_and_tell(shares: Sequence[_Share]) -> None:
    _resolve(_show(shares))


def _tell(outcomes: Sequence[_Outcome]) -> None:
    """Tell each loop once, of all its jobs."""
    for loop, ended in _by_loop(outcomes).items():
        # Without a loop nobody waits any more, and the work is done.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, ended)


def _by_loop(
    jobs: Sequence[tuple[_Job, _T]],
) -> dict[asyncio.AbstractEventLoop, list[tuple[_Job, _T]]]:
    loops: dict[asyncio.AbstractEventLoop, list[tuple[_Job, _T]]] = {}
    for each in jobs:
        loops.setdefault(each[0].loop, []).append(each)
    return loops


def _resolve(outcomes: Sequence[_Outcome]) -> None:
    for job, outcome in outcomes:
        job.ended = True
        if job.future.done():  # the waiter was cancelled
            continue
        if outcome is None:
            job.future.set_result(None)
        else:
            job.future.set_exception(outcome)
