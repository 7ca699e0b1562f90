"""Syncs the jobs of an event loop side by side, without a thread that waits (``kernel_syncs``).

While one flush is under way, others may begin: as the file system writes its journal for the first,
the data of the second goes to the disk. How many pay is measured (``flush_depth``). More at once
would be small, and each costs the processor. So other jobs are collected until a flush ends.

The data of all files comes first (``data_first``), and files come before directories: so one write
of the file system's journal serves all of a flush.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.kernel_syncs import ROOM, KernelSyncs
from emailrelay.store.spool.disk.sync_threads import Target
from emailrelay.store.spool.durable.data_first import DataFirst
from emailrelay.store.spool.durable.flush_depth import MOST_FLUSHES, FlushDepth
from emailrelay.store.spool.durable.jobs import Job, finish_jobs, first_error, resolve

_MOST_TARGETS = 4
_LARGEST = (ROOM - 1) // MOST_FLUSHES // _MOST_TARGETS
"""Jobs of a flush."""
_PATIENCE = 0.02
"""The most seconds that the loop stands still for syncs while nothing else is to be done."""


@dataclass(slots=True, eq=False)
class _Flush:
    """Jobs whose syncs were begun together."""

    jobs: Sequence[Job]
    others: int
    """Flushes that were under way at its beginning."""
    began: float
    opened: list[int] = field(default_factory=list[int])
    """Directories that were opened for it."""
    failed: dict[Target, OSError] = field(default_factory=dict[Target, OSError])
    left: int = 0
    """Syncs that have not ended."""

    def descriptor_of(self, directory: Directory) -> int:
        """Return an open file of a directory that no other flush syncs.

        Each open file has errors of its own, which the kernel reports once.

        Raises:
            OSError: the directory cannot be opened.

        """
        if not self.others:
            return directory.fileno()  # a flush that begins beside this one opens its own
        self.opened.append(files.reopened(directory))
        return self.opened[-1]


class LoopFlushes:
    """The syncs of one event loop."""

    def __init__(self) -> None:
        """Prepare for nothing: that needs the loop."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._kernel: KernelSyncs | None = None
        self._data_first = DataFirst()
        self._waiting: list[Job] = []
        self._flushes = 0
        self._depth = FlushDepth(MOST_FLUSHES)
        self._under_way: dict[int, tuple[_Flush, Target]] = {}
        """Syncs by their keys."""
        self._alone: tuple[int, Callable[[OSError | None], None]] | None = None
        """The key of a sync by itself, and what is called at its end."""
        self._key = 0
        self._all_ended: asyncio.Future[None] | None = None

    def takes(self, job: Job) -> bool:
        """Tell if a job can be done here; else a thread has to do it."""
        if job.blocks or job.closing or len(job.targets) > _MOST_TARGETS:
            return False
        return self.serves(job.loop)

    def serves(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Tell if the kernel makes syncs for a loop."""
        if self._loop is None:
            self._start(loop)
        return self._kernel is not None and loop is self._loop

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        with suppress(OSError):
            self._kernel = KernelSyncs()
            loop.add_reader(self._kernel.ends, self._look)

    def add(self, jobs: Sequence[Job]) -> None:
        """Sync what jobs name, and finish them when all of it has ended."""
        self._waiting += jobs
        self._go_on()

    def sync_alone(self, open_file: int, ended: Callable[[OSError | None], None]) -> bool:
        """Begin to sync the data of an open file beside all flushes; False if that cannot be done.

        One at a time. ``ended`` is called in the loop with the error, if there is one.
        """
        if self._kernel is None or self._alone is not None:
            return False
        key, self._key = self._key, self._key + 1
        if self._kernel.begin(key, (open_file,)) != [None]:
            return False
        self._alone = key, ended
        return True

    @property
    def idle(self) -> bool:
        """True: no sync is under way, and none waits."""
        return not self._under_way and not self._waiting and self._alone is None

    def wait(self) -> bool:
        """Wait a little for the syncs under way; those that end need not wake the loop.

        False: they take longer. Blocks.
        """
        if self._kernel is not None and not self.idle:
            left = len(self._under_way) + (self._alone is not None)
            self._note(self._kernel.ended_within(left, _PATIENCE))
        return self.idle

    def _go_on(self) -> None:
        while self._waiting and self._kernel is not None and self._depth.allows(self._flushes):
            jobs, self._waiting = self._waiting[:_LARGEST], self._waiting[_LARGEST:]
            self._begin(_Flush(jobs, self._flushes, time.monotonic()), self._kernel)

    def _begin(self, flush: _Flush, kernel: KernelSyncs) -> None:
        self._flushes += 1
        targets = dict.fromkeys(target for job in flush.jobs for target in job.targets)
        open_files = [target for target in targets if isinstance(target, int)]
        flush.failed |= self._data_first.write(
            open_files, alone=len(flush.jobs) == 1 and not flush.others
        )
        written = [each for each in open_files if each not in flush.failed]
        begun: list[Target] = [*written]
        directories: list[int] = []
        for target in targets:
            if isinstance(target, Directory):
                try:
                    directories.append(flush.descriptor_of(target))
                except OSError as error:
                    flush.failed[target] = error
                else:
                    begun.append(target)
        first, self._key = self._key, self._key + len(begun)
        refused = kernel.begin(first, written, directories)
        for key, (target, refusal) in enumerate(zip(begun, refused, strict=True), first):
            if refusal is None:
                self._under_way[key] = flush, target
                flush.left += 1
            else:
                flush.failed[target] = refusal
        if not flush.left:
            self._end(flush)

    def _look(self) -> None:
        if self._kernel is not None:
            self._note(self._kernel.ended())

    def _note(self, ends: Sequence[tuple[int, OSError | None]]) -> None:
        for key, error in ends:
            if self._alone is not None and key == self._alone[0]:
                (_, ended), self._alone = self._alone, None
                ended(error)
                continue
            flush, target = self._under_way.pop(key)
            flush.left -= 1
            if error is not None:
                flush.failed[target] = error
            if not flush.left:
                self._end(flush)
        self._go_on()
        if self._all_ended is not None and not self._flushes:
            self._all_ended.set_result(None)
            self._all_ended = None

    def _end(self, flush: _Flush) -> None:
        self._flushes -= 1
        self._depth.took(flush.others, time.monotonic() - flush.began)
        for descriptor in flush.opened:
            os.close(descriptor)
        resolve(finish_jobs([(job, first_error(job.targets, flush.failed)) for job in flush.jobs]))

    async def close(self) -> None:
        """Finish all jobs."""
        if self._kernel is None or self._loop is None:
            return
        if self._flushes:
            self._all_ended = self._loop.create_future()
            await self._all_ended
        self._loop.remove_reader(self._kernel.ends)
        self._kernel.close()
        self._kernel = None
