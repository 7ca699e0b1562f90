"""Syncs that the kernel makes without a thread: each job gets the error of its own files, once."""

import asyncio
import errno
import os
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import put, stages

from emailrelay import linux
from emailrelay.errors import StoreError
from emailrelay.stage import Stage
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.kernel_syncs import KernelSyncs
from emailrelay.store.spool.durable.flush_depth import MOST_FLUSHES
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.syncer import Syncer

pytestmark = pytest.mark.linux
BODY = b"Subject: x\r\n\r\nx\r\n"
LOST = OSError(errno.EIO, "lost writes")


@asynccontextmanager
async def syncer_on(root: Path) -> AsyncGenerator[Syncer]:
    syncer = Syncer(Log(Directory(str(root))))
    try:
        yield syncer
    finally:
        await syncer.close()


def _new_files(root: Path, count: int) -> list[int]:
    return [os.open(root / str(number), os.O_CREAT | os.O_RDWR) for number in range(count)]


def _later_refused(
    refused: Sequence[int],
) -> Callable[[KernelSyncs], list[tuple[int, OSError | None]]]:
    """Give the end of syncs, where those with these keys have failed."""
    real = KernelSyncs.ended

    def ended(kernel: KernelSyncs) -> list[tuple[int, OSError | None]]:
        return [(key, LOST if key in refused else error) for key, error in real(kernel)]

    return ended


def _nothing(_kernel: KernelSyncs) -> list[tuple[int, OSError | None]]:
    return []


async def test_files_and_directory_are_synced_without_a_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    async with syncer_on(tmp_path) as syncer:
        await asyncio.gather(
            *(syncer.run((each,), (Directory(str(tmp_path)),)) for each in _new_files(tmp_path, 20))
        )
        assert threading.active_count() == before


async def test_only_the_job_whose_file_failed_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _new_files(tmp_path, 2)
    heard: list[OSError | None] = []
    async with syncer_on(tmp_path) as syncer:
        await syncer.run((first,), ())  # it has the key 0
        monkeypatch.setattr(KernelSyncs, "ended", _later_refused([1]))
        outcomes = await asyncio.gather(
            syncer.run((first,), (), heard.append),
            syncer.run((second,), (), heard.append),
            return_exceptions=True,
        )
    assert list(outcomes) == [None, None]
    assert heard == [LOST, None]


async def test_file_that_cannot_be_synced_does_not_stop_those_after_it(tmp_path: Path) -> None:
    first, closed, last = _new_files(tmp_path, 3)
    async with syncer_on(tmp_path) as syncer:
        await syncer.run((closed,), ())  # it opens a file, which must not get this number
        os.close(closed)
        outcomes = await asyncio.gather(
            *(syncer.run((each,), ()) for each in (first, closed, last)), return_exceptions=True
        )
    assert outcomes[0] is None
    assert isinstance(outcomes[1], OSError)
    assert outcomes[1].errno == errno.EBADF
    assert outcomes[2] is None


async def test_more_jobs_than_the_kernel_takes_at_once_are_all_done(tmp_path: Path) -> None:
    (file,) = _new_files(tmp_path, 1)
    done: list[OSError | None] = []
    async with syncer_on(tmp_path) as syncer:
        files = [os.dup(file) for _ in range(600)]
        await asyncio.gather(*(syncer.run((each,), (), done.append) for each in files))
    assert done == [None] * 600
    for each in files:
        os.close(each)


async def test_jobs_wait_while_the_most_flushes_are_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, real = list[int](), KernelSyncs.begin

    def begin(
        kernel: KernelSyncs, key: int, files: Sequence[int], directories: Sequence[int] = ()
    ) -> list[OSError | None]:
        begun.append(len(files))
        return real(kernel, key, files, directories)

    async with syncer_on(tmp_path) as syncer:
        await syncer.run(_new_files(tmp_path, 1), ())
        monkeypatch.setattr(KernelSyncs, "begin", begin)
        with monkeypatch.context() as disk:
            disk.setattr(KernelSyncs, "ended", _nothing)
            jobs: list[asyncio.Task[None]] = []
            for each in _new_files(tmp_path, MOST_FLUSHES + 3):
                jobs.append(asyncio.create_task(syncer.run((each,), ())))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            assert [count for count in begun if count] == [1] * MOST_FLUSHES
        await asyncio.gather(*jobs)
        assert [count for count in begun if count] == [*[1] * MOST_FLUSHES, 3]


async def test_spool_whose_commit_is_refused_keeps_nothing_of_it(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with synced_spool() as store:
        await put(store, BODY)
        with monkeypatch.context() as disk:
            disk.setattr(KernelSyncs, "ended", _later_refused(range(1000)))
            outcomes = await asyncio.gather(
                *(put(store, BODY) for _ in range(20)), return_exceptions=True
            )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
        assert list((synced_spool.directory / ".new").iterdir()) == []
        assert len(await stages(store)) == 1
        message = await put(store, BODY)
        assert (await stages(store))[message] is Stage.READY


async def test_cancelled_commit_is_finished(tmp_path: Path) -> None:
    (file,) = _new_files(tmp_path, 1)
    done: list[OSError | None] = []
    async with syncer_on(tmp_path) as syncer:
        job = asyncio.create_task(syncer.run((file,), (), done.append))
        await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert done == [None]


async def test_kernel_without_such_syncs_is_found_out_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linux, "AVAILABLE", False)
    (file,) = _new_files(tmp_path, 1)
    async with syncer_on(tmp_path) as syncer:
        await syncer.run((file,), ())
        assert any(thread.name.startswith("flush") for thread in threading.enumerate())


async def test_flush_beside_another_has_an_open_file_of_its_own_for_a_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, real = list[Sequence[int]](), KernelSyncs.begin
    root = Directory(str(tmp_path))

    def begin(
        kernel: KernelSyncs, key: int, files: Sequence[int], directories: Sequence[int] = ()
    ) -> list[OSError | None]:
        synced.append(directories)
        return real(kernel, key, files, directories)

    async with syncer_on(tmp_path) as syncer:
        await syncer.run((), (root,))
        monkeypatch.setattr(KernelSyncs, "begin", begin)
        with monkeypatch.context() as disk:
            disk.setattr(KernelSyncs, "ended", _nothing)
            jobs: list[asyncio.Task[None]] = []
            for _ in range(2):
                jobs.append(asyncio.create_task(syncer.run((), (root,))))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
        first, second = synced
        assert first == [root.fileno()]
        assert second != first
        await asyncio.gather(*jobs)
