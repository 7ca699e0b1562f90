"""Flushes that overlap: when a further one begins, and what each of them tells."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import PATIENCE, put, stages
from tests.contract.test_spool_watch import eventually

from emailrelay import linux
from emailrelay.errors import StoreError
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import sync_threads
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable import syncer as syncer_module
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.syncer import Syncer

pytestmark = [pytest.mark.linux, pytest.mark.usefixtures("threads_sync")]
BODY = b"Subject: x\r\n\r\nx\r\n"


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
        if self.error is not None:
            raise self.error
        super().sync()


class Disk:
    """A syncer over a slow file system that is opened twice, and files to sync."""

    def __init__(self, root: Path) -> None:
        """Open it all."""
        self.root = root
        self.wholes = [Slow(str(root)) for _ in range(2)]
        self.syncer = Syncer(Log(Directory(str(root))))
        self.syncer.lies_on(*self.wholes)
        self._made = 0

    def job(self, files: int = 6) -> asyncio.Task[None]:
        """Begin to sync new files."""
        opened: list[int] = []
        for _ in range(files):
            self._made += 1
            path = self.root / str(self._made)
            opened.append(os.open(path, os.O_CREAT | os.O_RDWR))
        return asyncio.create_task(self.syncer.run(opened, ()))

    @property
    def begun(self) -> int:
        """The flushes that have begun."""
        return sum(whole.begun for whole in self.wholes)

    async def until(self, begun: int) -> None:
        """Wait until so many flushes have begun."""
        await eventually(lambda: self.begun >= begun)

    def end(self) -> None:
        """Let all syncs end."""
        for whole in self.wholes:
            whole.may_end.release(100)


async def turns() -> None:
    """Let the loop turn until it would have begun another flush."""
    for _ in range(50):
        await asyncio.sleep(0)


@asynccontextmanager
async def slow_disk(root: Path) -> AsyncGenerator[Disk]:
    disk = Disk(root)
    try:
        yield disk
    finally:
        disk.end()
        await disk.syncer.close()


@pytest.mark.parametrize("files", [1, 6])
async def test_idle_loop_begins_a_flush_beside_another(tmp_path: Path, files: int) -> None:
    async with slow_disk(tmp_path) as disk:
        first = disk.job()
        await disk.until(1)
        second = disk.job(files)
        await disk.until(2)
        assert [whole.begun for whole in disk.wholes] == [1, 1]
        disk.wholes[1].may_end.release()
        await second
        assert not first.done()
        disk.end()
        await first


async def test_busy_loop_collects_a_batch_for_the_end_of_the_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syncer_module, "_SHORT_TURN", -1.0)  # no turn is short
    async with slow_disk(tmp_path) as disk:
        jobs = [disk.job()]
        await disk.until(1)
        for _ in range(3):
            jobs.append(disk.job())
            await turns()
        assert disk.begun == 1
        disk.end()
        await asyncio.gather(*jobs)
        assert disk.begun == 2


async def test_no_more_flushes_begin_than_the_file_system_is_opened_for(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        jobs = [disk.job()]
        await disk.until(1)
        jobs.append(disk.job())
        await disk.until(2)
        for _ in range(3):
            jobs.append(disk.job())
            await turns()
        assert disk.begun == 2
        disk.end()
        await asyncio.gather(*jobs)
        assert disk.begun == 3


async def test_without_a_further_thread_jobs_wait_for_the_end_of_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with slow_disk(tmp_path) as disk:
        first = disk.job()
        await disk.until(1)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refused)
            second = disk.job()
            await turns()
        disk.end()
        await asyncio.gather(first, second)


async def test_error_of_one_flush_is_not_that_of_another(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        first = disk.job()
        await disk.until(1)
        second = disk.job()
        await disk.until(2)
        disk.wholes[0].error = OSError(errno.EIO, "lost writes")
        disk.end()
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
        assert list(outcomes) == [disk.wholes[0].error, None]


async def test_each_flush_of_a_spool_has_an_open_file_system_of_its_own(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The kernel reports lost writes once to each open file: with a common one only one of two
    # flushes would be told.
    used, both, sync = list[int](), threading.Barrier(2), linux.sync_file_system

    def told(descriptor: int) -> None:
        used.append(os.fstat(descriptor).st_ino)
        descriptors.append(descriptor)
        both.wait(PATIENCE)
        sync(descriptor)
        raise OSError(errno.EIO, "lost writes")

    descriptors: list[int] = []
    monkeypatch.setattr(sync_threads, "_MANY", 1)
    async with synced_spool() as store:
        with monkeypatch.context() as disk:
            disk.setattr(linux, "sync_file_system", told)
            first = asyncio.create_task(put(store, BODY))
            await eventually(lambda: bool(descriptors))
            outcomes = await asyncio.gather(first, put(store, BODY), return_exceptions=True)
        assert len(set(descriptors)) == 2
        assert len(set(used)) == 1
        assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
        assert await stages(store) == {}
        message = await put(store, BODY)
        assert await stages(store) == {message: Stage.READY}


async def test_batch_is_collected_while_other_clients_are_expected(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        jobs = [disk.job() for _ in range(10)]  # so many clients there are
        await disk.until(1)
        disk.wholes[0].may_end.release()
        await asyncio.gather(*jobs)
        jobs = [disk.job()]
        await disk.until(2)
        jobs.append(disk.job())
        await turns()
        jobs += [disk.job() for _ in range(7)]
        await disk.until(3)
        assert [whole.begun for whole in disk.wholes] == [2, 1]
        disk.end()
        await asyncio.gather(*jobs)
        assert disk.begun == 3


async def test_jobs_that_follow_each_other_take_one_thread(tmp_path: Path) -> None:
    async with slow_disk(tmp_path) as disk:
        disk.end()
        for _ in range(50):
            await disk.job()
        assert [whole.begun for whole in disk.wholes] == [50, 0]
