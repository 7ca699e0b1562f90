"""New messages of filters become visible with the settlement of the message that they come from."""

import asyncio
import errno
from collections.abc import Awaitable, Callable

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.copies import add_pair
from tests.contract.mail import can_claim, claimed, content_of, put, stages
from tests.contract.played_cut import BODY, cut, everything

from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble, TakenIn
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable import durability
from emailrelay.store.spool.durable.jobs import NotRecorded
from emailrelay.store.spool.durable.log import LARGEST_CONTENT, Log
from emailrelay.store.spool.message import added_messages
from emailrelay.store.spool.message.draft import SpoolDraft

ADDED = b"Subject: added\r\n\r\n"
FILTERED = b"Subject: filtered\r\n\r\n"
WAYS = durability.FileDurability, durability.LogDurability


async def filter_and_add(store: Store, message: QueueId, added: bytes = ADDED) -> None:
    async with await claimed(store, message, Stage.UNFILTERED) as claim:
        copy = await claim.work_copy("new")
        copy.content.write_bytes(FILTERED)
        add_pair(copy, "split", added)
        await claim.settle(Pass())


def drafts(spool: SpoolOpener) -> list[str]:
    return [path.name for path in (spool.directory / ".new").iterdir()]


async def contents(store: Store) -> list[bytes]:
    found: list[bytes] = []
    for message, stage in (await stages(store)).items():
        async with await claimed(store, message, stage) as claim:
            found.append(await content_of(claim))
    return sorted(found)


def refuse_records(patch: pytest.MonkeyPatch) -> None:
    """Have the log refuse all records."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "the log is full")

    patch.setattr(Log, "_write", full)


def fail_adoptions(patch: pytest.MonkeyPatch, error: Callable[[], BaseException]) -> None:
    """Have no result recorded."""

    async def fail(*_: object) -> None:
        raise error()

    for way in WAYS:
        patch.setattr(way, "adopt", fail)


def io_error() -> OSError:
    return OSError(errno.EIO, "the disk fails")


@pytest.mark.parametrize("opens", [SpoolOpener, LoggedSpoolOpener], ids=["files", "log"])
async def test_they_are_added_once_however_often_the_log_refuses_the_settlement(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, opens: type[SpoolOpener]
) -> None:
    """The receiver has a log; filterd itself uses files, or what is added is large."""
    added = ADDED * LARGEST_CONTENT if opens is LoggedSpoolOpener else ADDED
    async with logged_spool() as receiver, opens(logged_spool.directory.parent)() as filterd:
        message = await put(receiver, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            refuse_records(patch)
            for _ in range(3):
                with pytest.raises(StoreError, match="is full"):
                    await filter_and_add(filterd, message, added)
                assert await stages(receiver) == {message: Stage.UNFILTERED}
                assert drafts(logged_spool) == []
        await filter_and_add(filterd, message, added)
        assert await contents(receiver) == sorted((FILTERED, added))


@pytest.mark.parametrize("settlement", [Pass(), Hold()], ids=["pass", "hold"])
async def test_they_are_added_once_if_the_settlement_is_impossible(
    spool: SpoolOpener, settlement: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        for _ in range(2):
            async with await claimed(store, message, Stage.UNFILTERED) as claim:
                copy = await claim.work_copy("new")
                add_pair(copy, "split", ADDED)
                if isinstance(settlement, Pass):
                    copy.envelope.write_bytes(b"no envelope")
                else:
                    monkeypatch.setattr(WAYS[0], "keep", _not_recorded)
                    monkeypatch.setattr(WAYS[1], "keep", _not_recorded)
                with pytest.raises(StoreError):
                    await claim.settle(settlement)
            assert list(await stages(store)) == [message]
            assert drafts(spool) == []


async def _not_recorded(*_: object) -> None:
    raise NotRecorded(errno.ENOSPC, "no room")


@pytest.mark.parametrize("error", [io_error, asyncio.CancelledError])
async def test_they_are_visible_if_the_settlement_may_have_taken_effect(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch, error: Callable[[], BaseException]
) -> None:
    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            fail_adoptions(patch, error)
            with pytest.raises((StoreError, asyncio.CancelledError)):
                await filter_and_add(store, message)
        assert await contents(store) == sorted((BODY, ADDED))


async def test_they_are_visible_if_another_process_finishes_the_adoption(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            _fail_once(patch, ".envelope.filter")
            with pytest.raises(StoreError):
                await filter_and_add(store, message)
        assert not await can_claim(store, message, Stage.UNFILTERED)  # it completes the adoption
        assert await contents(store) == sorted((FILTERED, ADDED))


async def test_they_outlive_their_process(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    after: list[SpoolOpener] = []

    def cut_here() -> OSError:
        after.append(cut(spool, everything))
        return io_error()

    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            fail_adoptions(patch, cut_here)
            with pytest.raises(StoreError):
                await filter_and_add(store, message)
    async with after[0]() as store:
        assert await contents(store) == sorted((BODY, ADDED))


@pytest.mark.parametrize("name", [".content", ".envelope"])
async def test_they_become_visible_when_the_disk_allows_it(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(added_messages, "_TRY_AGAIN", 0.0)
    show = SpoolDraft.show

    def refused_once(draft: SpoolDraft, stage: Stage) -> None:
        with monkeypatch.context() as patch:
            _fail_once(patch, name)
            show(draft, stage)

    monkeypatch.setattr(SpoolDraft, "show", refused_once)
    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        await filter_and_add(store, message)
        assert await contents(store) == sorted((FILTERED, ADDED))
    assert len([each for each in spool.reports if isinstance(each, TakenIn)]) == 1
    assert len([each for each in spool.reports if isinstance(each, StoreTrouble)]) == 1


async def test_cancelled_call_adds_nothing(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        for way in WAYS:
            monkeypatch.setattr(way, "commit", _cancelled_after(way.commit))
        with pytest.raises(asyncio.CancelledError):
            await filter_and_add(store, message)
        assert list(await stages(store)) == [message]
        assert drafts(spool) == []


async def test_stop_between_two_of_them_adds_none(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    secure, secured = SpoolDraft.secure, list[QueueId]()

    async def stopped_at_the_second(draft: SpoolDraft, stage: Stage) -> None:
        if secured:
            raise asyncio.CancelledError
        await secure(draft, stage)
        secured.append(draft.id)

    monkeypatch.setattr(SpoolDraft, "secure", stopped_at_the_second)
    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            add_pair(copy, "one", ADDED)
            add_pair(copy, "two", ADDED)
            with pytest.raises(asyncio.CancelledError):
                await claim.settle(Pass())
        assert secured
        assert list(await stages(store)) == [message]
        assert drafts(spool) == []


async def test_disk_that_refuses_their_removal_ends_no_worker(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = files.remove

    def refused(at: Location) -> None:
        if at.name.endswith(".content") and at.directory.path == str(spool.directory):
            raise OSError(errno.EROFS, "read-only")
        remove(at)

    async with spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            fail_adoptions(patch, lambda: NotRecorded(errno.ENOSPC, "no room"))
            patch.setattr(files, "remove", refused)
            with pytest.raises(StoreError, match="no room"):
                await filter_and_add(store, message)
        assert list(await stages(store)) == [message]


def _cancelled_after(commit: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Return a commit whose caller is cancelled when it has ended."""

    async def cancelled(*job: object, **more: object) -> None:
        await commit(*job, **more)
        raise asyncio.CancelledError

    return cancelled


def _fail_once(patch: pytest.MonkeyPatch, name: str) -> None:
    """Fail at the first rename to a name with this end."""
    rename, failed = files.rename, list[Location]()

    def stopped(old: Location, new: Location) -> None:
        if new.name.endswith(name) and not failed:
            failed.append(new)
            raise OSError(errno.ENOSPC, "no room in the directory")
        rename(old, new)

    patch.setattr(files, "rename", stopped)
