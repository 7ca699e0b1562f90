"""A process that ends before it could record a delivery leaves its doubt to the next opener."""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.handing import files, handed_over, linked
from tests.contract.mail import (
    BOB,
    CAT,
    ENVELOPE,
    LATER,
    OK,
    PATIENCE,
    attempt,
    claimed,
    full,
    history_of,
    put,
    stages,
)
from tests.contract.played_cut import cut, everything

from emailrelay.ack import Ack
from emailrelay.events.store import PossibleDuplicate, Recovered, StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.spool.disk import files as disk_files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.marks.final_dots import FinalDots
from emailrelay.store.spool.message import handed_claim, moves
from emailrelay.store.spool.message.delivery_wait import DeliveryWait

PEER = "mx.test:25"
PARTLY = Defer(attempt(1.0, next_attempt=1.0, ann=OK, bob=LATER))


@pytest.fixture(autouse=True)
def _whole_sweeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open a store only after its first sweep."""
    monkeypatch.setattr("emailrelay.store.spool.store._PATIENCE", PATIENCE)


async def deliver(store: Store, message: QueueId, settlement: Settlement) -> None:
    async with await claimed(store, message) as claim:
        assert await claim.before_dot(PEER)
        await claim.settle(settlement, answer=OK)


async def cancelled_in_trouble(spool: SpoolOpener, work: Coroutine[Any, Any, object]) -> None:
    """Cancel work once the store has reported trouble, as a service does that is told to stop."""
    spool.reports.clear()
    task = asyncio.create_task(work)
    async with asyncio.timeout(PATIENCE):
        while not any(isinstance(event, StoreTrouble) for event in spool.reports):
            assert not task.done()
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled()


def told(spool: SpoolOpener) -> list[object]:
    return [event for event in spool.reports if isinstance(event, PossibleDuplicate | Recovered)]


async def test_next_opener_removes_a_delivered_message_that_could_not_be_removed(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store)
        with monkeypatch.context() as patch:
            patch.setattr(moves, "_was_removed", full)
            await cancelled_in_trouble(spool, deliver(store, message, Done()))
        assert await stages(store) == {message: Stage.READY}
        assert told(spool) == []
    async with spool() as store:
        assert await stages(store) == {}
        what = "removal of a delivered message finished"
        assert told(spool) == [Recovered(id=message, what=what)]
    assert list((spool.directory / ".doubt").iterdir()) == []


async def test_next_opener_removes_a_delivered_message_that_a_sick_log_refused(
    logged_spool: LoggedSpoolOpener,
) -> None:
    async with logged_spool() as store:
        message = await put(store)
        (logged_spool.directory / ".wal" / "sick").touch()
        await cancelled_in_trouble(logged_spool, deliver(store, message, Done()))
    async with logged_spool() as store:
        assert await stages(store) == {}
        assert PossibleDuplicate not in map(type, logged_spool.reports)


async def test_next_opener_names_a_delivery_to_some_that_could_not_be_recorded(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store)
        with monkeypatch.context() as patch:
            patch.setattr(moves.Locked, "append", full)
            await cancelled_in_trouble(spool, deliver(store, message, PARTLY))
    async with spool() as store:
        assert told(spool) == [PossibleDuplicate(id=message, peer=PEER)]
        assert (await history_of(store, message)).doubts == (PEER,)


@pytest.mark.parametrize(
    ("settlement", "trouble"),
    [(Done(), (moves, "_was_removed")), (PARTLY, (moves.Locked, "append"))],
)
async def test_delivery_whose_client_has_no_answer_is_named_once(
    spool: SpoolOpener,
    settlement: Settlement,
    trouble: tuple[object, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with spool() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(Stage.READY, Ack.DELIVERED)
        async with spool() as other:
            with monkeypatch.context() as patch:
                patch.setattr(*trouble, full)
                await cancelled_in_trouble(spool, deliver(other, draft.id, settlement))
        async with spool():
            assert told(spool) == [PossibleDuplicate(id=draft.id, peer=PEER)]


async def test_removed_message_whose_answer_was_on_its_way_is_named_once(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(Stage.READY, Ack.DELIVERED)
        async with spool() as other:
            spool.reports.clear()
            telling = asyncio.Event()

            async def tell(*_: object) -> bool:
                telling.set()
                return await asyncio.Event().wait()

            with monkeypatch.context() as patch:
                patch.setattr(DeliveryWait, "tell", tell)
                task = asyncio.create_task(deliver(other, draft.id, Done()))
                await asyncio.wait_for(telling.wait(), PATIENCE)
                task.cancel()
                await asyncio.wait((task,))
            assert await stages(other) == {}
        async with spool():
            assert told(spool) == [PossibleDuplicate(id=draft.id, peer=PEER)]


@pytest.mark.parametrize(("step", "end"), [("take_away", "envelope"), ("remove", "content")])
async def test_delivery_is_named_if_a_kill_ends_its_removal_before_its_client_has_an_answer(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch, step: str, end: str
) -> None:
    killed: list[SpoolOpener] = []
    act: Callable[[Location], None] = getattr(disk_files, step)

    def noted(at: Location) -> None:
        if at.name.endswith(end):
            killed.append(cut(spool, everything))
        act(at)

    async with spool() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(Stage.READY, Ack.DELIVERED)
        with monkeypatch.context() as patch:
            patch.setattr(disk_files, step, noted)
            await deliver(store, draft.id, Done())
    (after,) = killed
    async with after() as store:
        assert told(after) == [PossibleDuplicate(id=draft.id, peer=PEER)]
        assert await store.claim(Stage.READY, draft.id) is None  # its receiver has died, too
        # Left alone until it is an hour old: its envelope may have been set aside by hand.
        assert files(after) == ([f"emailrelay.{draft.id}.content"] if end == "content" else [])


@pytest.mark.parametrize("ending", [".busy", ".aside"])
async def test_message_in_doubt_keeps_its_content_if_its_envelope_was_set_aside(
    spool: SpoolOpener, ending: str
) -> None:
    async with spool() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await claim.before_dot(PEER)
            after = cut(spool, everything)
    envelope = after.directory / f"emailrelay.{message}.envelope"
    envelope.rename(envelope.with_name(envelope.name + ending))
    async with after():
        assert PossibleDuplicate(id=message, peer=PEER) in told(after)
        assert f"emailrelay.{message}.content" in files(after)


@pytest.mark.parametrize(
    "settlement", [PARTLY, Fail(LATER, attempt(1.0, ann=OK, bob=LATER))], ids=["defer", "fail"]
)
async def test_recorded_delivery_is_in_no_doubt_although_its_settlement_is_cancelled(
    spool: SpoolOpener, settlement: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        message = await put(store)
        append = moves.Locked.append

        def cancelled(locked: moves.Locked, lines: bytes) -> None:
            append(locked, lines)
            task.cancel()

        with monkeypatch.context() as patch:
            patch.setattr(moves.Locked, "append", cancelled)
            task = asyncio.create_task(deliver(store, message, settlement))
            await asyncio.wait((task,))
        assert task.cancelled()
    async with spool():
        assert told(spool) == []


async def test_message_without_files_that_some_have_is_named(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store:
        async with spool() as other, linked(store, other) as feed:
            draft, claim = await handed_over(store, feed)
            assert await claim.before_dot(PEER)
            with monkeypatch.context() as patch:
                patch.setattr(handed_claim, "DraftFiles", full)
                await cancelled_in_trouble(spool, claim.settle(PARTLY, answer=OK))
            assert files(spool) == []
        async with draft, asyncio.timeout(PATIENCE):
            while not files(spool):  # noqa: ASYNC110 - the file system tells nothing by itself
                await asyncio.sleep(0.01)
            async with spool() as later:
                assert told(spool) == [PossibleDuplicate(id=draft.id, peer=PEER)]
                assert (await history_of(later, draft.id)).doubts == (PEER,)


async def test_settlement_that_no_server_has_accepted_leaves_no_doubt(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await claim.before_dot(PEER)
            await claim.settle(Defer(attempt(1.0, next_attempt=1.0, bob=LATER, cat=LATER)))
    async with spool() as store:
        assert told(spool) == []
        async with await claimed(store, message) as claim:
            assert {BOB, CAT} < set(claim.history.pending(ENVELOPE))


def test_slot_whose_note_cannot_be_written_is_free_again(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.directory.mkdir(parents=True)
    dots = FinalDots(Directory(str(spool.directory)), lambda _doing, _why: None)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        for _ in range(3):
            with pytest.raises(OSError, match="No space"):
                dots.mark(QueueId("1.1.1"), PEER)
    assert dots.mark(QueueId("1.1.1"), PEER) == 0
    dots.close()
