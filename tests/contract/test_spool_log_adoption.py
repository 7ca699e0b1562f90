"""What filters made of a message is one record of the log, and right after a power cut."""

import errno
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import (
    ANN,
    BOB,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    attempt,
    can_claim,
    claimed,
    content_of,
    put,
    stages,
)
from tests.contract.played_cut import BODY, cut, everything, nothing, put_log

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.durable.log import LARGEST_CONTENT
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes
from emailrelay.store.spool.durable.syncer import Syncer
from emailrelay.store.spool.message import adoption

Filtering: TypeAlias = Callable[[Store, QueueId], Awaitable[None]]
FILTERED = b"Subject: filtered\r\n\r\n"
MUCH = FILTERED * LARGEST_CONTENT
"""More than the log takes."""
REROUTED = ENVELOPE._replace(to_remote=(BOB,))


async def filter_in_memory(store: Store, message: QueueId) -> None:
    async with await claimed(store, message, Stage.UNFILTERED) as claim:
        small = claim.at_hand("new")
        assert small is not None
        small.replace(REROUTED, FILTERED)
        await claim.settle(Pass())


async def filter_in_files(store: Store, message: QueueId, content: bytes = FILTERED) -> None:
    async with await claimed(store, message, Stage.UNFILTERED) as claim:
        copy = await claim.work_copy("new")
        copy.content.write_bytes(content)
        await claim.settle(Pass())


async def filter_into_much(store: Store, message: QueueId) -> None:
    await filter_in_files(store, message, MUCH)


class Stopped(OSError):
    """A step that a killed process does not do."""


def stop_at(to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail at the rename to a name with this end."""
    rename = files.rename

    def stopped(old: Location, new: Location) -> None:
        if new.name.endswith(to):
            raise Stopped(to)
        rename(old, new)

    monkeypatch.setattr(files, "rename", stopped)


async def killed_at(
    to: str, store: Store, filtering: Filtering, monkeypatch: pytest.MonkeyPatch
) -> QueueId:
    """Put a message whose adoption ends before the rename to a name with this end."""
    message = await put(store, BODY, Stage.UNFILTERED)
    with monkeypatch.context() as patch:
        stop_at(to, patch)
        with pytest.raises(StoreError):
            await filtering(store, message)
    return message


def be_another_user(spool: SpoolOpener, message: QueueId, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process neither read nor remove the result that filters have left."""
    result = spool.directory / ".work" / f"{message}.adopt"
    opened = Directory.fileno

    def refused(at: Directory) -> int:
        if at.path == str(result):
            raise PermissionError(errno.EPERM, "belongs to another user", at.path)
        return opened(at)

    monkeypatch.setattr(files, "remove_tree", _keep)
    monkeypatch.setattr(Directory, "fileno", refused)


async def opened_by_another_user(
    spool: SpoolOpener, message: QueueId, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have the receiver, which runs as another user than filterd, replay the log."""
    with monkeypatch.context() as other:
        be_another_user(spool, message, other)
        async with spool():
            pass


@pytest.mark.parametrize("filtering", [filter_in_memory, filter_in_files])
async def test_it_is_there_when_none_of_its_files_are(
    logged_spool: LoggedSpoolOpener, filtering: Filtering
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        await filtering(store, message)
        after = cut(logged_spool)
    for _ in range(2):  # the second time without a log
        async with after() as store:
            assert await stages(store) == {message: Stage.READY}
            async with await claimed(store, message) as claim:
                assert await content_of(claim) == FILTERED


async def test_one_record_is_all_that_is_synced(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[str] = []

    def noting(way: str) -> Callable[..., Awaitable[None]]:
        sync: Callable[..., Awaitable[None]] = getattr(Syncer, way)

        def noted(*job: object, **more: object) -> Awaitable[None]:
            jobs.append(way)
            return sync(*job, **more)

        return noted

    for way in ("run", "log"):
        monkeypatch.setattr(Syncer, way, noting(way))
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        jobs.clear()
        await filter_in_memory(store, message)
        assert jobs == ["log"]


async def test_large_result_is_synced_as_files(logged_spool: LoggedSpoolOpener) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        await filter_into_much(store, message)
        after = cut(logged_spool, everything)
    async with after() as store, await claimed(store, message) as claim:
        assert await content_of(claim) == MUCH


async def test_large_result_is_the_message_if_only_its_directory_outlives_a_cut(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await killed_at(".content", store, filter_into_much, monkeypatch)
        after = cut(logged_spool, lambda path: ".work" in path.parts)
    async with after() as store:
        assert await stages(store) == {message: Stage.UNFILTERED}
        assert not await can_claim(store, message, Stage.UNFILTERED)  # it completes the adoption
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == MUCH


async def test_message_that_was_moved_while_its_filters_ran_keeps_its_content(
    logged_spool: LoggedSpoolOpener,
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            small = claim.at_hand("new")
            assert small is not None
            small.replace(REROUTED, FILTERED)
            unfiltered = logged_spool.directory / f"emailrelay.{message}.envelope.filter"
            unfiltered.rename(logged_spool.directory / f"emailrelay.{message}.envelope.hold")
            with pytest.raises(StoreError, match="was moved"):
                await claim.settle(Pass())
        content = logged_spool.directory / f"emailrelay.{message}.content"
        assert content.read_bytes() == BODY


@pytest.mark.parametrize("last", [".adopt", ".content", ".envelope.filter", ".envelope"])
@pytest.mark.parametrize("torn", [None, b"", b"\0" * 700])
async def test_files_of_a_killed_process_that_were_not_synced_are_not_used(
    logged_spool: LoggedSpoolOpener,
    monkeypatch: pytest.MonkeyPatch,
    last: str,
    torn: bytes | None,
) -> None:
    async with logged_spool() as store:
        message = await killed_at(last, store, filter_in_memory, monkeypatch)
        after = cut(logged_spool, everything)
    for path in after.directory.glob(f".work/{message}.adopt/*") if torn is not None else ():
        path.write_bytes(torn or b"")
    for _ in range(2):
        async with after() as store:
            assert await stages(store) == {message: Stage.READY}
            async with await claimed(store, message) as claim:
                assert await content_of(claim) == FILTERED
        assert list((after.directory / ".work").iterdir()) == []


async def test_process_of_another_user_finishes_it_without_its_files(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await killed_at(".content", store, filter_in_memory, monkeypatch)
        after = cut(logged_spool, everything)
    with monkeypatch.context() as other:
        be_another_user(after, message, other)
        async with after() as store, await claimed(store, message) as claim:
            assert await content_of(claim) == FILTERED
    assert not any("adoption" in str(report) for report in after.reports)


@pytest.mark.parametrize("owns", [True, False])
async def test_torn_files_of_another_user_never_become_the_message(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, *, owns: bool
) -> None:
    """The directory of copies belongs to a group, unless its sticky bit is set (not ``owns``)."""
    async with logged_spool() as store:
        message = await killed_at(".content", store, filter_in_memory, monkeypatch)
        after = cut(logged_spool, everything)
    result = after.directory / ".work" / f"{message}.adopt"
    for path in result.iterdir():
        path.write_bytes(b"")
    with monkeypatch.context() as other:
        be_another_user(after, message, other)
        if not owns:
            stop_at(".void", other)
        async with after():
            pass
    assert any(str(result) in str(report) for report in after.reports) is not owns
    if not owns:
        return
    back = after.directory / f"emailrelay.{message}.envelope"
    async with after() as store:
        back.rename(back.with_suffix(".envelope.filter"))  # by hand
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert await content_of(claim) == FILTERED
    assert list((after.directory / ".work").iterdir()) == []


@pytest.mark.parametrize("owns", [True, False])
async def test_large_result_that_follows_a_recorded_one_is_adopted(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, *, owns: bool
) -> None:
    """The log has a result that no file shows; behind it, the message has failed, for a time."""
    async with logged_spool() as store:
        message = await killed_at(".adopt", store, filter_in_memory, monkeypatch)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Fail(NEVER))
        assert await store.retry(message)
        with monkeypatch.context() as patch:
            stop_at(".content", patch)
            with pytest.raises(StoreError):
                await filter_into_much(store, message)
        after = cut(logged_spool, everything)
    if not owns:
        await opened_by_another_user(after, message, monkeypatch)
    async with after() as store:
        assert not await can_claim(store, message, Stage.UNFILTERED)  # it completes the adoption
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == MUCH


@pytest.mark.parametrize("owns", [True, False])
async def test_torn_result_is_not_used_if_the_log_has_forgotten_what_was_accepted(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, *, owns: bool
) -> None:
    """It was accepted as files, and held by a user who cannot complete its adoption."""
    async with logged_spool() as store:
        async with SpoolOpener(logged_spool.directory.parent)() as other:
            message = await put(other, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            patch.setattr(adoption, "_move_into_place", _fail_to_move)
            with pytest.raises(StoreError):
                await filter_in_memory(store, message)
            be_another_user(logged_spool, message, patch)
            assert await store.hold(message)
        after = cut(logged_spool, everything)
    for path in after.directory.glob(f".work/{message}.adopt/*"):
        path.write_bytes(b"")
    if not owns:
        await opened_by_another_user(after, message, monkeypatch)
    async with after() as store:
        assert await store.retry(message)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert await content_of(claim) == BODY


async def test_large_result_is_the_message_if_its_envelope_has_lost_its_name(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await killed_at(".content", store, filter_into_much, monkeypatch)
        after = cut(logged_spool, everything)
        assert not await can_claim(store, message, Stage.UNFILTERED)  # it completes the adoption
        async with await claimed(store, message) as claim:
            now = claim.history.accepted_at or 0.0
            await claim.settle(Defer(attempt(now, next_attempt=now, ann=OK, bob=LATER)))
        put_log(cut(logged_spool), after)
    (after.directory / f"emailrelay.{message}.envelope.filter").unlink()
    for _ in range(2):  # the second time without a log
        async with after() as store:
            assert await stages(store) == {message: Stage.READY}
            async with await claimed(store, message) as claim:
                assert await content_of(claim) == MUCH
                assert claim.history.delivered == {ANN: OK}
        assert list((after.directory / ".work").iterdir()) == []


@pytest.mark.parametrize("kept", [nothing, everything])
async def test_message_that_was_refused_after_a_kill_has_its_own_content(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, kept: Callable[[Path], bool]
) -> None:
    """The log has a result that no file shows, and later the old envelope with its failure."""
    async with logged_spool() as store:
        message = await killed_at(".adopt", store, filter_in_memory, monkeypatch)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert await content_of(claim) == BODY
            await claim.settle(Fail(NEVER))
        after = cut(logged_spool, kept)
    async with after() as store:
        assert await stages(store) == {message: Stage.FAILED}
        async with await claimed(store, message, Stage.FAILED) as claim:
            assert await content_of(claim) == BODY
            assert claim.envelope == ENVELOPE


async def test_message_that_was_held_after_a_kill_stays_held(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await killed_at(".adopt", store, filter_in_memory, monkeypatch)
        assert await store.hold(message)
        after = cut(logged_spool, everything)
    for _ in range(2):
        async with after() as store:
            assert await stages(store) == {message: Stage.HELD}
            async with await claimed(store, message, Stage.HELD) as claim:
                assert await content_of(claim) == BODY


async def test_large_message_that_was_quarantined_after_a_kill_stays_held(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await killed_at(".adopt", store, filter_in_memory, monkeypatch)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            copy.content.write_bytes(MUCH)
            await claim.settle(Pass(quarantine="milter:/m: odd"))
        after = cut(logged_spool, everything)
    async with after() as store:
        assert await stages(store) == {message: Stage.HELD}
        async with await claimed(store, message, Stage.HELD) as claim:
            assert await content_of(claim) == MUCH


async def test_result_whose_sync_fails_changes_nothing(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with logged_spool() as store:
        message = await put(store, BODY, Stage.UNFILTERED)
        with monkeypatch.context() as patch:
            patch.setattr(LoopFlushes, "sync_alone", _refuse)
            patch.setattr("os.fdatasync", _fail)
            with pytest.raises(StoreError):
                await filter_in_memory(store, message)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert await content_of(claim) == BODY
        assert list((logged_spool.directory / ".work").iterdir()) == []


def _fail(_descriptor: int) -> None:
    raise OSError(errno.EIO, "the disk fails")


def _fail_to_move(*_: object, **__: object) -> None:
    raise Stopped


def _keep(_at: Location) -> None:
    """Remove nothing."""


def _refuse(*_: object) -> bool:
    return False
