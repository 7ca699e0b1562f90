"""A spool's log: what it says is true after a power cut, whatever of the files has come to the disk.

A power cut is played on a copy: the log as it stood, and of the messages' files only those that a test
lets through. Cuts of a real disk are under ``tests/faults``.
"""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import (
    ANN,
    BOB,
    CAT,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    attempt,
    claimed,
    content_of,
    history_of,
    listed,
    put,
    stages,
)
from tests.contract.test_spool_disk import small_disk

from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.spool.file_system import FileSystem
from emailrelay.store.spool.wal import checkpoint, segment
from emailrelay.store.spool.wal.log import LARGEST_CONTENT, Log

BODY = b"Subject: x\r\n\r\nbody\r\n"


class Cut(BaseException):
    """The power goes."""


def nothing(_path: Path) -> bool:
    return False


def everything(_path: Path) -> bool:
    return True


def cut(spool: SpoolOpener, kept: Callable[[Path], bool] = nothing) -> SpoolOpener:
    """Give the spool as a power cut at this moment leaves it."""
    after = LoggedSpoolOpener(Path(tempfile.mkdtemp(dir=spool.directory.parent, prefix="cut.")))
    after.directory.mkdir()
    for path in spool.directory.rglob("*"):
        name = path.relative_to(spool.directory)
        target = after.directory / name
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.is_file() and (name.parts[0] == ".wal" or kept(name)):
            shutil.copy2(path, target)
    return after


def put_log(later: SpoolOpener, earlier: SpoolOpener) -> None:
    """Have the files of an earlier moment stand beside the log of a later one."""
    shutil.rmtree(earlier.directory / ".wal")
    shutil.copytree(later.directory / ".wal", earlier.directory / ".wal")


def files_of(message: QueueId, spool: SpoolOpener) -> list[str]:
    return sorted(path.name for path in spool.directory.rglob(f"*{message}*"))


async def test_message_is_there_when_none_of_its_files_are(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        after = cut(logged_spool)
    async with after() as store:
        assert await stages(store) == {message: Stage.UNFILTERED}
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert (claim.envelope, await content_of(claim)) == (ENVELOPE, BODY)
    assert (after.directory / f"emailrelay.{message}.content").stat().st_mode & 0o777 == 0o660


@pytest.mark.parametrize("damaged", ["content", "envelope"])
@pytest.mark.parametrize("octets", [b"", b"\0" * 700, b"X-MailRelay-Format: #2821.8\r\n"])
async def test_half_written_files_are_made_whole(
    logged_spool: LoggedSpoolOpener, damaged: str, octets: bytes
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool, everything)
    (after.directory / f"emailrelay.{message}.{damaged}").write_bytes(octets)
    async with after() as store:
        async with await claimed(store, message) as claim:
            assert (claim.envelope, await content_of(claim)) == (ENVELOPE, BODY)
        assert files_of(message, after) == [
            f"emailrelay.{message}.content",
            f"emailrelay.{message}.envelope",
        ]


async def test_draft_that_came_back_harms_nothing(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool)
    drafts = after.directory / ".new"
    (drafts / f"emailrelay.{message}.envelope").write_bytes(b"")
    (drafts / f"emailrelay.{message}.content").write_bytes(b"Subj")
    async with after() as store:
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == BODY
        assert list(drafts.iterdir()) == []


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_delivered_message_does_not_come_back(
    logged_spool: LoggedSpoolOpener, kept: Callable[[Path], bool]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        before = cut(logged_spool, kept)
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
        after = cut(logged_spool)
    # The files as before the removal, which has not come to the disk; the log as after it.
    put_log(after, before)
    async with before() as store:
        assert await stages(store) == {}
    assert files_of(message, before) == []


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_recipient_recorded_as_delivered_stays_so(
    logged_spool: LoggedSpoolOpener, kept: Callable[[Path], bool]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        before = cut(logged_spool, kept)
        async with await claimed(store, message) as claim:
            now = claim.history.accepted_at or 0.0
            partly = attempt(now, next_attempt=now + 60, ann=OK, bob=LATER)
            await claim.settle(Defer(partly))
        after = cut(logged_spool)
    put_log(after, before)
    async with before() as store:
        history = await history_of(store, message)
        assert history.delivered == {ANN: OK}
        assert history.pending(ENVELOPE) == (BOB, CAT)
        assert await stages(store) == {message: Stage.READY}


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_failed_message_stays_failed(
    logged_spool: LoggedSpoolOpener, kept: Callable[[Path], bool]
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool, kept)
    envelope = after.directory / f"emailrelay.{message}.envelope.bad"
    if envelope.exists():  # the rename has not come to the disk
        envelope.rename(envelope.with_suffix(""))
    async with after() as store:
        assert await stages(store) == {message: Stage.FAILED}
        failed = (await history_of(store, message)).failed
        assert failed is not None
        assert failed.reason == NEVER


async def test_replay_may_be_done_again_and_again(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        gone, failed, ready = [await put(store, BODY) for _ in range(3)]
        async with await claimed(store, gone) as claim:
            await claim.settle(Done())
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool)
    log = after.directory.parent / "log"
    shutil.copytree(after.directory / ".wal", log)
    expected = {failed: Stage.FAILED, ready: Stage.READY}
    seen: list[dict[str, bytes]] = []
    for _ in range(3):
        async with after() as store:
            assert await stages(store) == expected
        seen.append({p.name: p.read_bytes() for p in after.directory.glob("emailrelay.*")})
        shutil.rmtree(after.directory / ".wal")
        shutil.copytree(log, after.directory / ".wal")
    assert seen[0] == seen[1] == seen[2]


def _cut_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Have the power go at one of the next calls to the system; tells whether it did."""
    calls = 0

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal calls
            calls += 1
            if calls >= step:
                raise Cut
            return real(*args, **kwargs)

        return call

    for name in ("open", "write", "pwrite", "fsync", "fdatasync", "rename", "unlink"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    return lambda: calls >= step


async def test_power_may_go_at_every_step_of_a_replay(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        gone, failed, ready = [await put(store, BODY) for _ in range(3)]
        half = cut(logged_spool, everything)
        async with await claimed(store, gone) as claim:
            await claim.settle(Done())
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool)
    put_log(after, half)
    (half.directory / f"emailrelay.{ready}.content").write_bytes(b"")
    (half.directory / f"emailrelay.{failed}.envelope").unlink()
    kept = half.directory.parent / "kept"
    half.directory.rename(kept)
    half = SpoolOpener(half.directory.parent)  # it makes no new log: the replay is what matters
    for step in range(1, 200):
        shutil.copytree(kept, half.directory)
        with monkeypatch.context() as power:
            went = _cut_at(step, power)
            try:
                async with half():
                    pass
            except Cut:
                pass
        async with half() as store:
            assert await stages(store) == {failed: Stage.FAILED, ready: Stage.READY}, step
            async with await claimed(store, ready) as claim:
                assert await content_of(claim) == BODY
        shutil.rmtree(half.directory)
        if not went():
            break
    else:
        pytest.fail("a replay does not end")
    assert step > 20


async def test_torn_batch_is_none_and_harms_no_other(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        first, torn, last = [await put(store, BODY * 300) for _ in range(3)]
        after = cut(logged_spool)
    (log,) = (after.directory / ".wal").glob("*.log")
    octets = bytearray(log.read_bytes())
    place = octets.index(torn.encode()) + 5000
    octets[place] ^= 1
    log.write_bytes(octets)
    async with after() as store:
        assert set(await listed(store)) == {first, last}
        async with await claimed(store, last) as claim:
            assert await content_of(claim) == BODY * 300


async def test_batch_in_a_message_is_none(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        after = cut(logged_spool)
    (log,) = (after.directory / ".wal").glob("*.log")
    batch = log.read_bytes()[4096:8192]
    async with logged_spool() as store:
        carrier = await put(store, batch * 8)
        again = cut(logged_spool)
    async with again() as store:
        assert set(await listed(store)) == {carrier}
        assert message not in await listed(store)


async def test_hold_by_hand_outlives_the_cut(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY)
        envelope = logged_spool.directory / f"emailrelay.{message}.envelope"
        envelope.rename(f"{envelope}.hold")
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {message: Stage.HELD}


async def test_what_the_operator_did_later_stays(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        held, again, deleted = [await put(store, BODY) for _ in range(3)]
        async with await claimed(store, again) as claim:
            await claim.settle(Fail(NEVER))
        assert await store.hold(held)
        assert await store.retry(again)
        assert await store.delete(deleted)
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {held: Stage.HELD, again: Stage.READY}
        assert (await history_of(store, again)).failed is None


async def test_checkpoint_leaves_nothing_that_could_undo_what_came_after(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.wal.log._OLD", 0.0)
    async with logged_spool() as store:
        message = await put(store, BODY)
        log = Log(str(logged_spool.directory / ".wal"))
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
        log = Log(str(logged_spool.directory / ".wal"))
        (number,) = segment.numbers(log.directory)
        busy = segment.open_segment(log.directory, number)
        assert busy is not None
        busy.share()
        log.close_old()
        with pytest.MonkeyPatch.context() as time:
            time.setattr("emailrelay.store.spool.wal.log._OLD", 0.0)
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
        assert segment.numbers(str(logged_spool.directory / ".wal"))


async def test_clean_end_leaves_no_log(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store, logged_spool():
        message = await put(store, BODY)
    assert list((logged_spool.directory / ".wal").iterdir()) == []
    async with logged_spool() as store:
        assert await stages(store) == {message: Stage.READY}


async def test_settlement_goes_to_the_log_whoever_makes_it(
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


async def test_commit_whose_sync_fails_is_none(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_segment: segment.Segment) -> None:
        raise OSError(5, "no sync")

    async with logged_spool() as store:
        first = await put(store, BODY)
        with monkeypatch.context() as disk:
            disk.setattr(segment.Segment, "sync", broken)
            with pytest.raises(StoreError):
                await put(store, BODY)
        assert set(await listed(store)) == {first}
        last = await put(store, BODY)
        assert len(segment.numbers(str(logged_spool.directory / ".wal"))) == 2
        after = cut(logged_spool)
    async with after() as store:
        assert set(await listed(store)) == {first, last}


async def test_settlement_whose_sync_fails_is_tried_until_it_holds(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, failures = segment.Segment.sync, iter(range(2))

    def broken(one: segment.Segment) -> None:
        if next(failures, None) is not None:
            raise OSError(5, "no sync")
        sync(one)

    monkeypatch.setattr("emailrelay.store.spool.claim._TRY_AGAIN", 0.0)
    async with logged_spool() as store:
        message = await put(store, BODY)
        async with await claimed(store, message) as claim:
            with monkeypatch.context() as disk:
                disk.setattr(segment.Segment, "sync", broken)
                await claim.settle(Done())
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {}


async def test_disk_that_fails_a_checkpoint_stops_commits_until_a_replay(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_whole: FileSystem) -> None:
        raise OSError(5, "lost writes")

    monkeypatch.setattr("emailrelay.store.spool.wal.log._OLD", 0.0)
    async with logged_spool() as store:
        message = await put(store, BODY)
        with monkeypatch.context() as disk:
            disk.setattr(FileSystem, "sync", broken)
            log = Log(str(logged_spool.directory / ".wal"))
            points = checkpoint.Checkpoints(str(logged_spool.directory), log)
            with pytest.raises(OSError, match="lost writes"):
                points.make()
        with pytest.raises(StoreError):
            await put(store, BODY)
        assert points.make()
        assert len(segment.numbers(log.directory)) == 2
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
    monkeypatch.setattr("emailrelay.store.spool.wal.log._SEGMENTS", 3)
    monkeypatch.setattr("emailrelay.store.spool.syncer._LOOK", 3600.0)
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
