"""Flushes in a thread: what is gathered for the next one, and what each of them tells."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.mail import PATIENCE
from tests.contract.test_spool_watch import eventually

from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.syncer import Syncer

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("threads_sync")]


class Slow(FileSystem):
    """A file system whose syncs end when they may."""

    def __init__(self, path: str) -> None:
        """Let no sync end yet."""
        super().__init__(path)
        self.begun, self.may_end = 0, threading.Semaphore(0)
        self.error: OSError | None = None

    def sync(self) -> None:
        """See ``FileSystem.sync``."""
        self.begun += 1
        assert self.may_end.acquire(timeout=PATIENCE)
        error, self.error = self.error, None
        if error is not None:
            raise error
        super().sync()


class Disk:
    """A syncer over a slow file system, and files to sync."""

    def __init__(self, root: Path) -> None:
        """Open it all."""
        self.root = root
        self.whole = Slow(str(root))
        self.syncer = Syncer(Log(Directory(str(root))))
        self.syncer.lies_on(self.whole)
        self._made = 0

    def job(self, files: int = 6) -> asyncio.Task[None]:
        """Begin to sync new files."""
        opened: list[int] = []
        for _ in range(files):
            self._made += 1
            path = self.root / str(self._made)
            opened.append(os.open(path, os.O_CREAT | os.O_RDWR))
        return asyncio.create_task(self.syncer.run(opened, ()))

    async def until(self, begun: int) -> None:
        """Wait until so many flushes have begun."""
        await eventually(lambda: self.whole.begun >= begun)


@asynccontextmanager
async def slow_disk(root: Path) -> AsyncGenerator[Disk]:
    disk = Disk(root)
    try:
        yield disk
    finally:
        disk.whole.may_end.release(100)
        await disk.syncer.close()


async def test_jobs_that_come_during_a_flush_are_the_next_one(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        jobs = [disk.job()]
        await disk.until(1)
        for _ in range(3):
            jobs.append(disk.job())
            await asyncio.sleep(0)
        disk.whole.may_end.release(2)
        await asyncio.gather(*jobs)
        assert disk.whole.begun == 2


async def test_error_of_one_flush_is_not_that_of_another(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        disk.whole.error = error = OSError(errno.EIO, "lost writes")
        first = disk.job()
        await disk.until(1)
        second = disk.job()
        disk.whole.may_end.release(2)
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert list(outcomes) == [error, None]


async def test_jobs_that_follow_each_other_take_a_flush_each(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        disk.whole.may_end.release(50)
        for _ in range(50):
            await disk.job()
        assert disk.whole.begun == 50
