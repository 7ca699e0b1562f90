"""Many files are synced with all of their file system: a refused sync makes nothing durable."""

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import put, stages
from tests.contract.test_spool_disk import small_disk

from emailrelay import linux
from emailrelay.errors import StoreError
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import sync_threads
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.syncer import Syncer

pytestmark = pytest.mark.usefixtures("threads_sync")
BODY = b"Subject: x\r\n\r\nx\r\n"


class Counting(FileSystem):
    """A file system that counts its syncs, and may fail."""

    syncs = 0
    error: OSError | None = None

    def sync(self) -> None:
        """See ``FileSystem.sync``."""
        self.syncs += 1
        super().sync()
        if self.error is not None:
            raise self.error


async def _batch(
    syncer: Syncer, jobs: Sequence[Sequence[int]], directory: Path
) -> list[BaseException | None]:
    """Do jobs in one batch: all arrive while the thread is at work."""
    free = threading.Event()

    def busy(_error: OSError | None) -> None:
        assert free.wait(60)

    first = asyncio.create_task(syncer.run((), (), busy, blocks=True))
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(syncer.run(job, (Directory(str(directory)),))) for job in jobs]
    await asyncio.sleep(0)
    free.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def _files(directory: Path, count: int) -> list[int]:
    made = [os.open(directory / str(number), os.O_CREAT | os.O_RDWR) for number in range(count)]
    for descriptor in made:
        os.write(descriptor, BODY)
    return made


@pytest.mark.linux
@pytest.mark.parametrize(("messages", "syncs"), [(2, 0), (3, 1), (50, 1)])
async def test_many_files_take_one_sync(tmp_path: Path, messages: int, syncs: int) -> None:
    syncer, whole = Syncer(Log(Directory(str(tmp_path)))), Counting(str(tmp_path))
    syncer.lies_on(whole)
    files = _files(tmp_path, 2 * messages)
    outcomes = await _batch(syncer, [files[k : k + 2] for k in range(0, len(files), 2)], tmp_path)
    assert outcomes == [None] * messages
    assert whole.syncs == syncs
    await syncer.close()


@pytest.mark.linux
async def test_a_disk_that_refuses_something_refuses_the_batch(tmp_path: Path) -> None:
    syncer, whole = Syncer(Log(Directory(str(tmp_path)))), Counting(str(tmp_path))
    syncer.lies_on(whole)
    whole.error = OSError(5, "lost writes")
    files = _files(tmp_path, 8)
    assert await _batch(syncer, [files[:4], files[4:]], tmp_path) == [whole.error, whole.error]
    whole.error = None
    assert await _batch(syncer, [files], tmp_path) == [None]
    await syncer.close()


@pytest.mark.linux
async def test_after_an_error_each_file_speaks_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = OSError(errno.EIO, "lost writes")

    def broken(_descriptor: int) -> None:
        raise refused

    monkeypatch.setattr(linux, "sync_file_system", broken)
    syncer = Syncer(Log(Directory(str(tmp_path))))
    syncer.lies_on(FileSystem(str(tmp_path)))
    files, sync = _files(tmp_path, 8), os.fdatasync
    assert await _batch(syncer, [files[:4], files[4:]], tmp_path) == [refused, refused]

    # The lost data of that batch may be the next one's; the error goes to its own file only.
    def lost(descriptor: int) -> None:
        if descriptor == files[0]:
            raise refused
        sync(descriptor)

    monkeypatch.setattr(os, "fdatasync", lost)
    monkeypatch.setattr(linux, "sync_file_system", os.fsync)
    assert await _batch(syncer, [files[:4], files[4:]], tmp_path) == [refused, None]
    await syncer.close()


@pytest.mark.linux
async def test_refused_commits_leave_nothing(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_whole: FileSystem) -> None:
        raise OSError(5, "lost writes")

    monkeypatch.setattr(sync_threads, "_MANY", 1)
    async with synced_spool() as store:
        with monkeypatch.context() as disk:
            disk.setattr(FileSystem, "sync", broken)
            outcomes = await asyncio.gather(
                *(put(store, BODY) for _ in range(20)), return_exceptions=True
            )
        assert all(isinstance(outcome, StoreError) for outcome in outcomes), outcomes
        assert await stages(store) == {}
        assert list((synced_spool.directory / ".new").iterdir()) == []
        message = await put(store, BODY)
        assert await stages(store) == {message: Stage.READY}


@pytest.mark.linux
def test_a_file_that_lies_elsewhere_is_not_served(tmp_path: Path) -> None:
    whole = FileSystem(str(tmp_path))
    here = os.open(tmp_path / "here", os.O_CREAT | os.O_RDWR)
    assert whole.serves((here,))
    with small_disk(tmp_path / "other", "size=1m") as other:
        there = os.open(other / "there", os.O_CREAT | os.O_RDWR)
        assert not whole.serves((here, there))
        os.close(there)
    os.close(here)
    assert not whole.serves((here,))


@pytest.mark.linux
def test_others_are_waited_for_a_twentieth_of_the_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(*times: float) -> None:
        said = iter(times)
        monkeypatch.setattr("time.monotonic", lambda: next(said))

    whole = FileSystem(str(tmp_path))
    at(100.0, 100.2, 100.2)
    whole.sync()
    assert whole.serves(())
    at(100.0, 102.0, 141.9, 142.0)
    whole.sync()
    assert not whole.serves(())
    assert whole.serves(())


@pytest.mark.linux
@pytest.mark.parametrize(
    ("system", "release", "served"),
    [
        ("Linux", "5.8.0-1-amd64", True),
        ("Linux", "6.18.44", True),
        ("Linux", "5.7.19", False),
        ("Linux", "4.19.0", False),
        ("Darwin", "23.1.0", False),
    ],
)
def test_systems_that_keep_lost_writes_to_themselves_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, release: str, *, served: bool
) -> None:
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(sysname=system, release=release))
    assert FileSystem(str(tmp_path)).serves(()) is served


async def test_writing_that_the_disk_refuses_is_never_taken_for_done(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(5, "lost writes")

    def untrusted(_whole: FileSystem, _open_files: Sequence[int], *_: object) -> bool:
        return False

    # Many files, on a system without one sync for all.
    monkeypatch.setattr(sync_threads, "_MANY", 1)
    monkeypatch.setattr(FileSystem, "serves", untrusted)
    async with synced_spool() as store:
        with monkeypatch.context() as disk:
            disk.setattr(linux, "wait_for_writing", broken)
            with pytest.raises(StoreError, match="lost writes"):
                await put(store, BODY)
        assert await stages(store) == {}
        assert list((synced_spool.directory / ".new").iterdir()) == []
        assert await put(store, BODY)


@pytest.mark.parametrize("call", ["os.fdatasync", "emailrelay.linux.begin_writing"])
async def test_a_message_that_the_disk_refuses_is_not_taken(
    synced_spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def broken(_descriptor: int) -> None:
        raise OSError(5, "lost writes")

    async with synced_spool() as store:
        with monkeypatch.context() as disk:
            disk.setattr(call, broken)
            with pytest.raises(StoreError, match="lost writes"):
                await put(store, BODY)
        assert await stages(store) == {}
        assert list((synced_spool.directory / ".new").iterdir()) == []
        assert await put(store, BODY)


@pytest.mark.linux
def test_a_file_is_written_and_a_closed_one_told(tmp_path: Path) -> None:
    (descriptor,) = _files(tmp_path, 1)
    linux.begin_writing(descriptor)
    linux.wait_for_writing(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        linux.begin_writing(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        linux.wait_for_writing(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        linux.sync_file_system(descriptor)


@pytest.mark.linux
async def test_a_sandbox_that_forbids_it_costs_one_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_descriptor: int) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(linux, "sync_file_system", forbidden)
    syncer = Syncer(Log(Directory(str(tmp_path))))
    syncer.lies_on(FileSystem(str(tmp_path)))
    files = _files(tmp_path, 8)
    (refused,) = await _batch(syncer, [files], tmp_path)
    assert isinstance(refused, PermissionError)
    assert await _batch(syncer, [files], tmp_path) == [None]
    await syncer.close()
