"""Filters, group members and operators may do anything to a spool: mail does not change."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    ENVELOPE,
    NEVER,
    PATIENCE,
    can_claim,
    claimed,
    content_of,
    descriptors,
    full,
    next_of,
    put,
    stages,
)

from emailrelay import envelope_format
from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events.store import TakenIn
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.claim import WorkCopy
from emailrelay.store.spool.disk import file_octets, files, locks
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable.syncer import Syncer
from emailrelay.store.spool.message.spool import open_spool
from emailrelay.store.spool.message.waiting import Waiters

ORIGINAL = b"Subject: original\r\n\r\noriginal\r\n"


@pytest.mark.parametrize("where", ["inside", "outside"])
async def test_filter_may_keep_a_hard_link_to_the_content(
    spool: SpoolOpener, tmp_path: Path, where: str
) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            archive = copy.content.parent if where == "inside" else tmp_path
            os.link(copy.content, archive / "kept")
            await claim.settle(Pass())
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == ORIGINAL
        # The link that the filter made gives no access to the message.
        assert spool.directory.joinpath(f"emailrelay.{message}.content").stat().st_nlink == 1


async def test_filter_may_link_the_content_into_a_new_message(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            beside = copy.content.parent / "emailrelay.1.1.1"
            os.link(copy.content, beside.with_name(f"{beside.name}.content"))
            os.link(copy.envelope, beside.with_name(f"{beside.name}.envelope"))
            await claim.settle(Pass())
        (taken,) = [event for event in spool.reports if isinstance(event, TakenIn)]
        async with await claimed(store, taken.id) as claim:
            assert await content_of(claim) == ORIGINAL
        assert await can_claim(store, message)


def edit(copy: WorkCopy) -> None:
    with copy.content.open("ab") as content:
        content.write(b"footer\r\n")


async def test_failing_adoption_leaks_no_descriptor(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        before = descriptors()
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            edit(await claim.work_copy("new"))
            with monkeypatch.context() as patch:
                patch.setattr(file_octets, "write_all", full)
                with pytest.raises(StoreError):
                    await claim.settle(Pass())
        assert descriptors() == before
        async with await claimed(store, message, Stage.UNFILTERED) as again:
            assert await content_of(again) == ORIGINAL


async def test_settlement_that_failed_is_not_tried_again_at_once(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, store.feed(Stage.UNFILTERED) as feed:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await next_of(feed) as claim:
            edit(await claim.work_copy("new"))
            with monkeypatch.context() as patch:
                patch.setattr(file_octets, "write_all", full)
                with pytest.raises(StoreError):
                    await claim.settle(Pass())
        # Filters may have sent mail of their own: each run at once would send it again.
        other = await put(store, b"other", Stage.UNFILTERED)
        async with await next_of(feed) as claim:
            assert claim.id == other
            await claim.settle(Done())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):  # two looks at the directory
                await feed.claim()
        assert await can_claim(store, message, Stage.UNFILTERED)


async def test_cancelled_copying_ends_before_the_message_is_free(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, entered, gate = files.copy, threading.Event(), threading.Event()

    def slow(source: int, target: Location, size: int) -> int:
        entered.set()
        gate.wait(PATIENCE)
        return copy(source, target, size)

    monkeypatch.setattr(files, "copy", slow)
    async with spool() as store:
        # A large file is copied in a thread.
        message = await put(store, ORIGINAL * 20_000, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copying = asyncio.create_task(claim.work_copy("new"))
            await asyncio.to_thread(entered.wait, PATIENCE)
            copying.cancel()
            asyncio.get_running_loop().call_later(0.05, gate.set)
            # The next holder's copy has the same name: ours must not get into it, or remove it.
            with pytest.raises(asyncio.CancelledError):
                await copying
            assert gate.is_set()


async def test_wish_that_comes_during_the_adoption_is_obeyed(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)

        asked = False

        def asking(sync: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
            async def asked_meanwhile(*job: object) -> None:
                nonlocal asked
                if not asked:
                    asked = True  # the operator's wish is synced as well
                    assert await store.hold(message)
                await sync(*job)

            return asked_meanwhile

        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            edit(await claim.work_copy("new"))
            with monkeypatch.context() as patch:
                patch.setattr(Syncer, "run", asking(Syncer.run))
                patch.setattr(Syncer, "log", asking(Syncer.log))
                await claim.settle(Pass())
        assert asked
        assert not await can_claim(store, message)
        assert await stages(store) == {message: Stage.HELD}


async def test_retry_of_another_programs_unfiltered_message_does_not_skip_the_filters(
    spool: SpoolOpener,
) -> None:
    async with spool() as store:
        for verb in (store.retry, store.hold, store.fail):
            name = "emailrelay.1700000000.1.1"
            (spool.directory / f"{name}.content").write_bytes(ORIGINAL)
            path = spool.directory / f"{name}.envelope.filter"
            path.write_bytes(envelope_format.write(ENVELOPE))
            message = QueueId("1700000000.1.1")
            assert await verb(message)
            assert await store.retry(message)
            assert await stages(store) == {message: Stage.UNFILTERED}
            path.unlink()


async def test_wish_is_not_written_into_a_file_that_is_also_somebody_elses(
    spool: SpoolOpener, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"theirs\n")
    async with spool() as store:
        os.link(victim, spool.directory / "emailrelay.1.1.1.envelope")
        await store.hold(QueueId("1.1.1"))
    assert victim.read_bytes() == b"theirs\n"


async def test_altered_content_is_not_sent(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL)
        content = spool.directory / f"emailrelay.{message}.content"
        content.write_bytes(ORIGINAL.replace(b"original", b"ORIGINAL"))
        async with await claimed(store, message) as claim:
            with pytest.raises(StoreError, match="changed"):
                await content_of(claim)


async def test_content_cut_while_it_is_sent_is_not_sent_as_if_whole(spool: SpoolOpener) -> None:
    async with spool() as store:
        # A small content is in memory since it was claimed and checked.
        message = await put(store, ORIGINAL + b"x\r\n" * 30_000)
        async with await claimed(store, message) as claim:
            os.truncate(spool.directory / f"emailrelay.{message}.content", 10)
            with pytest.raises(StoreError, match="changed"):
                await content_of(claim)


async def test_altered_content_is_sent_when_the_operator_wants_it(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store, ORIGINAL)
        (spool.directory / f"emailrelay.{message}.content").write_bytes(b"mended")
        await store.hold(message)
        await store.retry(message)
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == b"mended"


async def test_endless_envelope_is_set_aside(spool: SpoolOpener) -> None:
    async with spool() as store:
        path = spool.directory / "emailrelay.1.1.1.envelope"
        path.write_bytes(envelope_format.write(ENVELOPE))
        os.truncate(path, 1024**3)  # takes no room
        assert not await can_claim(store, QueueId("1.1.1"))
        assert await stages(store) == {QueueId("1.1.1"): Stage.FAILED}


async def test_wait_that_cannot_be_announced_leaks_nothing(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool():
        process = open_spool(spool.directory, spool.reports.append, time.time)
        waiters = Waiters(process)
        waiters.expect(QueueId("1.1.0"), Ack.FILTERED)
        before = descriptors()
        with monkeypatch.context() as patch:
            patch.setattr(file_octets, "write_all", full)
            with pytest.raises(OSError, match="No space"):
                waiters.expect(QueueId("1.1.1"), Ack.FILTERED)
        assert descriptors() == before
        assert not (spool.directory / ".waiting" / "1.1.1").exists()
        waiters.close()
        process.announcer.close()
        process.close()


async def test_wish_that_came_as_a_lock_was_given_up_is_granted(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(NEVER))
        lock, tries = locks.lock_named, list[Location]()

        def late(path: Location) -> int | None:
            tries.append(path)
            return None if len(tries) == 1 else lock(path)  # a sweep has it for a moment

        monkeypatch.setattr(locks, "lock_named", late)
        assert await store.retry(message)
        assert await stages(store) == {message: Stage.READY}
