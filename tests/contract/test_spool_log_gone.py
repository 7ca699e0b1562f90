"""A log, or a whole spool, that is removed or moved in use: acknowledged mail is in the new one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import ENVELOPE, claimed, content_of, listed, put, stages
from tests.contract.played_cut import BODY, cut, everything

from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.disk.file_system import FileSystem


def _directory(spool: Path) -> None:
    shutil.rmtree(spool / ".wal")


def _files(spool: Path) -> None:
    for path in (spool / ".wal").iterdir():
        path.unlink()


def _segments(spool: Path) -> None:
    for path in (spool / ".wal").glob("*.log"):
        path.unlink()


def _tail(spool: Path) -> None:
    (spool / ".wal" / "tail").unlink()


def _replaced(spool: Path) -> None:
    (spool / ".wal").rename(spool / "old")
    (spool / ".wal").mkdir()


def _spool_removed(spool: Path) -> None:
    shutil.rmtree(spool)


def _spool_moved(spool: Path) -> None:
    spool.rename(spool.with_name("moved"))


def _spool_moved_and_made_anew(spool: Path) -> None:
    _spool_moved(spool)
    spool.mkdir()


async def put_again(store: Store) -> QueueId:
    """Put a message as a client does: again if it is refused because its draft was moved."""
    try:
        return await put(store, BODY)
    except StoreError:
        return await put(store, BODY)


LOSSES = [
    _directory,
    _files,
    _segments,
    _tail,
    _replaced,
    _spool_removed,
    _spool_moved,
    _spool_moved_and_made_anew,
]
Loss = Callable[[Path], None]


@pytest.mark.parametrize("loss", LOSSES)
async def test_what_is_acknowledged_after_the_log_went_survives_a_power_cut(
    logged_spool: LoggedSpoolOpener, loss: Loss
) -> None:
    async with logged_spool() as store:
        await put(store, BODY)
        loss(logged_spool.directory)
        taken = [await put_again(store) for _ in range(3)]
        after = cut(logged_spool)
    async with after() as store:
        assert set(taken) <= set(await listed(store))
        async with await claimed(store, taken[0]) as claim:
            assert await content_of(claim) == BODY


@pytest.mark.parametrize("loss", [_directory, _files, _replaced, _spool_moved])
async def test_log_that_went_is_told_once(logged_spool: LoggedSpoolOpener, loss: Loss) -> None:
    async with logged_spool() as store:
        await put(store, BODY)
        loss(logged_spool.directory)
        for _ in range(3):
            await put_again(store)
    told = [event for event in logged_spool.reports if isinstance(event, StoreTrouble)]
    assert [event.doing for event in told] == ["write the log"]
    assert str(logged_spool.directory / ".wal") in told[0].reason


async def test_what_was_acknowledged_before_the_log_went_is_synced_with_its_file_system(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[FileSystem] = []

    def sync(whole: FileSystem) -> None:
        synced.append(whole)

    monkeypatch.setattr(FileSystem, "sync", sync)
    async with logged_spool() as store:
        await put(store, BODY)
        _directory(logged_spool.directory)
        assert not synced
        await put(store, BODY)
        assert synced


async def test_settlement_after_the_log_went_survives_a_power_cut(
    logged_spool: LoggedSpoolOpener, tmp_path: Path
) -> None:
    """The same for a process that has not noticed: only the new log has the message."""
    async with SpoolOpener(tmp_path)() as other, logged_spool() as store:
        await put(store, BODY)
        async with await claimed(other, await put(store, BODY)) as claim:
            await claim.settle(Done())
        _directory(logged_spool.directory)
        message = await put(store, BODY)
        claim = await claimed(other, message)
        before = cut(logged_spool, everything)
        await claim.settle(Done())
        after = cut(logged_spool)
    shutil.rmtree(before.directory / ".wal")
    shutil.copytree(after.directory / ".wal", before.directory / ".wal")
    async with before() as store:
        assert message not in await stages(store)


async def test_who_comes_after_the_log_went_is_not_taken_for_the_first(
    logged_spool: LoggedSpoolOpener,
) -> None:
    async with logged_spool() as store:
        await put(store, BODY)
        _directory(logged_spool.directory)
        message = await put(store, BODY)
        for path in logged_spool.directory.glob(f"*{message}*"):
            path.unlink()  # by hand, just now: a replay would bring it back
        async with logged_spool() as second:
            assert message not in await listed(second)


async def test_who_has_not_noticed_takes_no_other_process_log_away(
    logged_spool: LoggedSpoolOpener, tmp_path: Path
) -> None:
    async with logged_spool() as store:
        await put(store, BODY)
        async with SpoolOpener(tmp_path)():
            _directory(logged_spool.directory)
            message = await put(store, BODY)
        after = cut(logged_spool)
    async with after() as store:
        assert message in await listed(store)


async def test_without_a_place_for_a_new_log_nothing_is_acknowledged(
    logged_spool: LoggedSpoolOpener,
) -> None:
    async with logged_spool() as store:
        await put(store, BODY)
        _directory(logged_spool.directory)
        (logged_spool.directory / ".wal").write_text("in the way")
        with pytest.raises(StoreError):
            await put(store, BODY)
        (logged_spool.directory / ".wal").unlink()
        assert await put(store, BODY)


async def test_draft_of_a_spool_that_was_moved_is_refused(spool: SpoolOpener) -> None:
    async with spool() as store:
        async with store.draft(ENVELOPE) as draft:
            draft.write(BODY)
            _spool_moved_and_made_anew(spool.directory)
            with pytest.raises(StoreError):
                await draft.commit(Stage.READY)
        assert await listed(store) == {}
        message = await put(store, BODY)
        assert await stages(store) == {message: Stage.READY}
