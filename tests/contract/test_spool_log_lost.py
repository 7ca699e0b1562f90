"""A disk that loses what was written, and tells of it late or only once: the log is kept."""

import errno
import os
from collections.abc import Callable

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import claimed, content_of, put, stages
from tests.contract.played_cut import BODY, cut, everything

from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.durable.checkpoint import Checkpoints
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.records import Gone


@pytest.fixture(name="lose")
def make_lose(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have each file system that is open now tell once that it has lost something."""
    opened: list[FileSystem] = []
    lost: list[FileSystem] = []
    begin, sync = FileSystem.__init__, FileSystem.sync

    def begins(whole: FileSystem, path: str) -> None:
        begin(whole, path)
        opened.append(whole)

    def syncs(whole: FileSystem) -> None:
        if whole in lost:
            lost.remove(whole)
            raise OSError(errno.EIO, "lost writes")
        sync(whole)

    monkeypatch.setattr(FileSystem, "__init__", begins)
    monkeypatch.setattr(FileSystem, "sync", syncs)
    return lambda: lost.extend(opened)


def _log(spool: SpoolOpener) -> list[str]:
    return sorted(path.name for path in (spool.directory / ".wal").iterdir())


async def test_loss_of_which_another_program_was_told_keeps_the_log(
    logged_spool: LoggedSpoolOpener, lose: Callable[[], None]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        lose()
    assert "sick" in _log(logged_spool)
    (logged_spool.directory / f"emailrelay.{message}.content").write_bytes(b"")
    after = SpoolOpener(logged_spool.directory.parent)
    async with after() as store, await claimed(store, message) as claim:
        assert await content_of(claim) == BODY
    assert _log(logged_spool) == []


async def test_replay_writes_files_anew_that_only_the_page_cache_may_have(
    logged_spool: LoggedSpoolOpener,
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool, everything)
    files = sorted(after.directory.glob("emailrelay.*"))
    assert len(files) == 2
    os.utime(files[1], ns=(1_700_000_000_123_456_789, 1_700_000_000_123_456_789))
    kept = [path.open("rb") for path in files]  # so that no new file gets the same inode
    before = [path.stat() for path in files]
    after.reports.clear()
    async with after() as store:
        assert await stages(store) == {message: Stage.READY}
        for path, was in zip(files, before, strict=True):
            now = path.stat()
            assert now.st_ino != was.st_ino
            assert now.st_mode == was.st_mode
        assert files[1].stat().st_mtime_ns == before[1].st_mtime_ns
    for each in kept:
        each.close()
    assert after.reports == []  # nothing has changed


async def test_replay_whose_sync_fails_keeps_the_log_for_the_next_start(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool)

    def broken(_whole: FileSystem) -> None:
        raise OSError(errno.EIO, "lost writes")

    with monkeypatch.context() as disk:
        disk.setattr(FileSystem, "sync", broken)
        with pytest.raises(StoreError, match="lost writes"):
            async with after():
                pass
    assert "sick" in _log(after)
    for path in after.directory.glob("emailrelay.*"):
        path.write_bytes(b"")
    async with after() as store:
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == BODY
        assert "sick" not in _log(after)


async def test_loss_before_a_replay_does_not_keep_a_service_from_starting(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool, everything)
    sync, told = FileSystem.sync, [OSError(errno.EIO, "lost writes")]

    def once(whole: FileSystem) -> None:
        if told:
            raise told.pop()
        sync(whole)

    monkeypatch.setattr(FileSystem, "sync", once)
    async with after() as store, await claimed(store, message) as claim:
        assert await content_of(claim) == BODY
    assert not told


@pytest.mark.parametrize("has_spare", [True, False])
async def test_failure_of_a_checkpoint_that_cannot_be_marked_is_not_forgotten(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, *, has_spare: bool
) -> None:
    def broken(_whole: FileSystem) -> None:
        raise OSError(errno.EIO, "lost writes")

    def refused(_at: Location) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("emailrelay.store.spool.durable.log._OLD", 0.0)
    async with logged_spool() as store:
        await put(store, BODY)
        log = Log(Directory(str(logged_spool.directory / ".wal")))
        log.close_old()
        segment.remove_spare(log.directory)
        if has_spare:
            segment.reserve(log.directory)
        points = Checkpoints(str(logged_spool.directory), log)
        with monkeypatch.context() as disk:
            disk.setattr(files, "create", refused)
            with monkeypatch.context() as failing:
                failing.setattr(FileSystem, "sync", broken)
                with pytest.raises(OSError, match="lost writes"):
                    points.make()
            assert ("sick" in _log(logged_spool)) is has_spare
            assert points.make()
            assert 1 in segment.numbers(log.directory)
            with pytest.raises(OSError, match="restart"):
                log.write((Gone(QueueId("1.1.1")),))
        assert log.has_failed()
        assert "sick" in _log(logged_spool)
        points.close()
        log.close()
    assert 1 in segment.numbers(Directory(str(logged_spool.directory / ".wal")))


@pytest.mark.parametrize("bad", ["content", "envelope"])
async def test_file_that_the_disk_cannot_read_is_put_anew_from_the_log(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool, everything)
    at = after.directory / f"emailrelay.{message}.{bad}"
    inode, read = at.stat().st_ino, os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == inode:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    with at.open("rb"):  # so that no new file gets this inode
        async with after() as store, await claimed(store, message) as claim:
            assert await content_of(claim) == BODY


async def test_messages_that_cannot_be_restored_are_named_and_the_others_are_restored(
    logged_spool: LoggedSpoolOpener,
) -> None:
    async with logged_spool() as store:
        messages = [await put(store, BODY) for _ in range(3)]
        after = cut(logged_spool)
    ways = [after.directory / f"emailrelay.{message}.content" for message in messages]
    for way in ways[:2]:
        way.mkdir()
    with pytest.raises(StoreError, match="directory"):
        async with after():
            pass
    told = [event.doing for event in after.reports if isinstance(event, StoreTrouble)]
    assert told == [f"restore {message} from the log" for message in messages[:2]]
    assert ways[2].read_bytes() == BODY
    for way in ways[:2]:
        way.rmdir()
    async with after() as store:
        assert await stages(store) == dict.fromkeys(messages, Stage.READY)
