"""A spool's log, from its first segment to its end: checkpoints, writers, and failing disks."""

import asyncio
import errno
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import (
    ANN,
    LATER,
    OK,
    attempt,
    claimed,
    content_of,
    history_of,
    listed,
    put,
    stages,
)
from tests.contract.played_cut import BODY, cut, everything, put_log
from tests.contract.test_spool_disk import small_disk

from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Pass
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable import checkpoint, segment
from emailrelay.store.spool.durable.log import LARGEST_CONTENT, Log, Written
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes


async def test_checkpoint_leaves_nothing_that_could_undo_what_came_after(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.durable.log._OLD", 0.0)
    async with logged_spool() as store:
        message = await put(store, BODY)
        log = Log(Directory(str(logged_spool.directory / ".wal")))
        points = checkpoint.Checkpoints(str(logged_spool.directory), log)
        assert not points.make()
        points.close()
        log.close()
        for path in logged_spool.directory.glob(f"*{message}*"):
            path.unlink()  # by hand
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {}


async def test_segment_in_use_stays(logged_spool: LoggedSpoolOpener) -> None:
    """A live process has written a batch and not yet shown it: no other takes its segment away."""
    async with logged_spool() as store:
        await put(store, BODY)
        log = Log(Directory(str(logged_spool.directory / ".wal")))
        (number,) = segment.numbers(log.directory)
        busy = segment.open_segment(log.directory, number)
        assert busy is not None
        busy.share()
        log.close_old()
        with pytest.MonkeyPatch.context() as time:
            time.setattr("emailrelay.store.spool.durable.log._OLD", 0.0)
            points = checkpoint.Checkpoints(str(logged_spool.directory), log)
            assert points.make()
            assert segment.numbers(log.directory) == [number, number + 1]
            busy.unshare()
            assert not points.make()
        assert segment.numbers(log.directory) == [number + 1]
        points.close()
        busy.close()
        log.close()


async def test_only_the_first_opener_replays(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        for path in logged_spool.directory.glob(f"*{message}*"):
            path.unlink()  # by hand, just now
        async with logged_spool() as second:
            assert await stages(second) == {}
        assert segment.numbers(Directory(str(logged_spool.directory / ".wal")))


async def test_clean_end_leaves_no_log(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store, logged_spool():
        message = await put(store, BODY)
    assert list((logged_spool.directory / ".wal").iterdir()) == []
    async with logged_spool() as store:
        assert await stages(store) == {message: Stage.READY}


async def test_settlement_of_any_process_goes_to_the_log(
    logged_spool: LoggedSpoolOpener, tmp_path: Path
) -> None:
    plain = SpoolOpener(tmp_path)
    async with plain() as other, logged_spool() as store:
        message = await put(store, BODY)
        before = cut(logged_spool, everything)
        async with await claimed(other, message) as claim:
            await claim.settle(Done())
        after = cut(logged_spool)
    put_log(after, before)
    async with before() as store:
        assert await stages(store) == {}


async def test_large_message_is_synced_as_files_and_settled_in_the_log(
    logged_spool: LoggedSpoolOpener,
) -> None:
    content = b"x" * (LARGEST_CONTENT + 1)
    async with logged_spool() as store:
        gone, ready = [await put(store, content) for _ in range(2)]
        before = cut(logged_spool, everything)
        async with await claimed(store, gone) as claim:
            await claim.settle(Done())
        async with await claimed(store, ready) as claim:
            now = claim.history.accepted_at or 0.0
            await claim.settle(Defer(attempt(now, next_attempt=now, ann=OK, bob=LATER)))
        after = cut(logged_spool)
    put_log(after, before)
    for message in (gone, ready):  # as it may be: committed under .new/, renames not on the disk
        for path in before.directory.glob(f"*{message}*"):
            path.rename(before.directory / ".new" / path.name)
    async with before() as store:
        assert await stages(store) == {ready: Stage.READY}
        assert (await history_of(store, ready)).delivered == {ANN: OK}
        async with await claimed(store, ready) as claim:
            assert await content_of(claim) == content


async def test_what_filters_made_of_a_message_stays(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            copy.content.write_bytes(b"Subject: filtered\r\n\r\n")
            await claim.settle(Pass())
        after = cut(logged_spool, everything)
    async with after() as store, await claimed(store, message) as claim:
        assert await content_of(claim) == b"Subject: filtered\r\n\r\n"


@pytest.mark.parametrize("moves", [0, 1, 2])
@pytest.mark.parametrize("octets", [0, LARGEST_CONTENT], ids=["in the log", "as files"])
async def test_what_filters_made_stays_if_a_settlement_is_synced_before_its_names(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, moves: int, octets: int
) -> None:
    """Another process may claim and settle a message while its new names are being synced."""
    left: list[SpoolOpener] = []
    filtered = b"Subject: filtered\r\n\r\n" + bytes(octets)

    def rename(at: Location, to: Location) -> None:
        if to.directory.path == str(logged_spool.directory):
            left.append(cut(logged_spool, everything))
        renamed(at, to)

    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            copy.content.write_bytes(filtered)
            renamed = files.rename
            monkeypatch.setattr(files, "rename", rename)
            await claim.settle(Pass())
            monkeypatch.undo()
        async with await claimed(store, message) as claim:
            now = claim.history.accepted_at or 0.0
            await claim.settle(Defer(attempt(now, next_attempt=now, ann=OK, bob=LATER)))
        put_log(cut(logged_spool), left[moves])
    for _ in range(2):  # the second time without a log
        async with left[moves]() as store:
            assert await stages(store) == {message: Stage.READY}
            async with await claimed(store, message) as claim:
                assert await content_of(claim) == filtered
                assert claim.history.delivered == {ANN: OK}
        assert list((left[moves].directory / ".work").iterdir()) == []


async def test_other_versions_log_is_refused(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        await put(store, BODY)
        after = cut(logged_spool)
    (log,) = (after.directory / ".wal").glob("*.log")
    octets = bytearray(log.read_bytes())
    octets[9] += 1
    log.write_bytes(octets)
    with pytest.raises(StoreUnusable, match="version 2"):
        async with after():
            pass
    assert log.read_bytes() == octets


LOST = OSError(errno.EIO, "no sync")


@pytest.fixture(name="lose", params=["kernel", "threads"])
def make_lose(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int], AbstractContextManager[None]]:
    """Have so many syncs of the log fail; the kernel makes them by itself, or threads do."""
    if request.param == "threads":
        request.getfixturevalue("threads_sync")
    judge, sync = Log.judge, segment.Segment.sync

    @contextmanager
    def lose(times: int) -> Generator[None]:
        errors = iter([LOST] * times)

        def judged(log: Log, batches: Sequence[Written], failed: OSError | None) -> OSError | None:
            return judge(log, batches, failed or next(errors, None))

        def synced(one: segment.Segment) -> None:
            sync(one)
            for error in errors:
                raise error

        with monkeypatch.context() as disk:
            disk.setattr(Log, "judge", judged)
            disk.setattr(segment.Segment, "sync", synced)
            yield
        assert next(errors, None) is None

    return lose


async def test_commit_whose_sync_fails_is_none(
    logged_spool: LoggedSpoolOpener, lose: Callable[[int], AbstractContextManager[None]]
) -> None:
    async with logged_spool() as store:
        first = await put(store, BODY)
        with lose(1), pytest.raises(StoreError):
            await put(store, BODY)
        assert set(await listed(store)) == {first}
        last = await put(store, BODY)
        assert len(segment.numbers(Directory(str(logged_spool.directory / ".wal")))) == 2
        after = cut(logged_spool)
    async with after() as store:
        assert set(await listed(store)) == {first, last}


async def test_settlement_whose_sync_fails_is_tried_until_it_holds(
    logged_spool: LoggedSpoolOpener,
    lose: Callable[[int], AbstractContextManager[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.message.claim._TRY_AGAIN", 0.0)
    async with logged_spool() as store:
        message = await put(store, BODY)
        async with await claimed(store, message) as claim:
            with lose(2):
                await claim.settle(Done())
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {}


async def _turns() -> None:
    """Let the loop take more turns than a commit needs before its sync."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_commits_of_the_time_of_a_sync_share_the_next_one(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Callable[[OSError | None], None]] = []
    alone = LoopFlushes.sync_alone

    def later(
        _flushes: LoopFlushes, _open_file: int, ended: Callable[[OSError | None], None]
    ) -> bool:
        begun.append(ended)
        return True

    async with logged_spool() as store:
        with monkeypatch.context() as disk:
            disk.setattr(LoopFlushes, "sync_alone", later)
            commits = [asyncio.create_task(put(store, BODY)) for _ in range(3)]
            await _turns()
            commits += [asyncio.create_task(put(store, BODY)) for _ in range(3)]
            await _turns()
            assert len(begun) == 1
            begun[0](None)
            await _turns()
            assert len(begun) == 2
            assert [one.done() for one in commits] == [True] * 3 + [False] * 3
            disk.setattr(LoopFlushes, "sync_alone", alone)
            begun[1](None)
        assert set(await listed(store)) == set(await asyncio.gather(*commits))


async def test_disk_that_fails_a_checkpoint_stops_commits_until_a_replay(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_whole: FileSystem) -> None:
        raise OSError(5, "lost writes")

    monkeypatch.setattr("emailrelay.store.spool.durable.log._OLD", 0.0)
    async with logged_spool() as store:
        message = await put(store, BODY)
        with monkeypatch.context() as disk:
            disk.setattr(FileSystem, "sync", broken)
            log = Log(Directory(str(logged_spool.directory / ".wal")))
            points = checkpoint.Checkpoints(str(logged_spool.directory), log)
            with pytest.raises(OSError, match="lost writes"):
                points.make()
        with pytest.raises(StoreError):
            await put(store, BODY)
        assert points.make()
        # The refused batch is in a segment of its own, marked void.
        assert len(segment.numbers(log.directory)) == 3
        points.close()
        log.close()
    (logged_spool.directory / f"emailrelay.{message}.content").write_bytes(b"")
    async with logged_spool() as store:
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == BODY
        assert await put(store, BODY)


async def test_log_that_grows_too_long_is_no_room(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "SIZE", 4096 * 4)
    monkeypatch.setattr("emailrelay.store.spool.durable.log._SEGMENTS", 3)
    monkeypatch.setattr("emailrelay.store.spool.durable.syncer._LOOK", 3600.0)
    taken: list[QueueId] = []
    async with logged_spool() as store:

        async def fill() -> None:
            while True:
                taken.append(await put(store, BODY))

        with pytest.raises(StoreError) as refusal:
            await fill()
        assert refusal.value.no_room
        assert set(await listed(store)) == set(taken)
        assert len(taken) == 9
        after = cut(logged_spool)
    async with after() as store:
        assert set(await listed(store)) == set(taken)


async def test_processes_write_one_log_together(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as one, logged_spool() as other:
        taken = await asyncio.gather(*(put(store, BODY) for store in (one, other) * 50))
        after = cut(logged_spool)
    async with after() as store:
        assert set(await listed(store)) == set(taken)


async def test_full_disk_does_not_stop_mail_from_leaving(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "size=18m") as disk:
        spool = LoggedSpoolOpener(disk)
        async with spool() as store:
            taken: list[QueueId] = []

            async def fill() -> None:
                while True:
                    taken.append(await put(store, b"x" * 60_000))

            with pytest.raises(StoreError) as refusal:
                await fill()
            assert refusal.value.no_room
            assert set(await listed(store)) == set(taken)
            assert len(taken) > 5
            for message in taken:
                async with await claimed(store, message) as claim:
                    await claim.settle(Done())
            assert await listed(store) == {}
            assert await put(store, BODY)
