"""The answers for messages that a receiver has handed to a forwarder."""

import asyncio
import contextlib
import socket
from dataclasses import dataclass

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.handing import WIDE, answered, committed, handed_over, linked
from tests.contract.mail import LATER, NEVER, OK, PATIENCE, full, next_of

from emailrelay.errors import StoreError
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.store import StoreTrouble
from emailrelay.settlement import Done, Fail
from emailrelay.store.spool.feed import handed
from emailrelay.store.spool.message import delivery_wait, handed_claim
from emailrelay.store.spool.message.delivery_wait import DeliveryWait
from emailrelay.store.spool.message.handed_claim import HandedClaim
from emailrelay.store.spool.wake.answer_socket import SOCKET, AnswerSocket


@dataclass
class Hang:
    """A receiver hangs: it takes no answers."""

    now: bool = False


@pytest.fixture
def hang(monkeypatch: pytest.MonkeyPatch) -> Hang:
    hang, receive = Hang(), AnswerSocket.receive

    def take(answers: AnswerSocket) -> None:
        if not hang.now:
            receive(answers)

    monkeypatch.setattr(AnswerSocket, "receive", take)
    return hang


async def test_answer_for_a_full_socket_keeps_the_message_in_doubt(
    spool: SpoolOpener, hang: Hang
) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        async with draft:
            assert await claim.before_dot("mx.test:25")
            hang.now = True
            fill(spool)
            settling = asyncio.ensure_future(claim.settle(Done(), answer=OK))
            done, _ = await asyncio.wait((settling,), timeout=0.3)
            assert not done
            assert draft.id in doubts(spool)
            hang.now = False
            assert await settling
            assert await answered(draft) == OK
        assert draft.id not in doubts(spool)


async def test_receiver_that_hangs_does_not_hold_the_forwarder(
    spool: SpoolOpener, hang: Hang, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed_claim, "_PATIENCE", 0.1)
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        async with draft:
            assert await claim.before_dot("mx.test:25")
            hang.now = True
            fill(spool)
            async with asyncio.timeout(PATIENCE):
                await claim.settle(Done(), answer=OK)
            (trouble,) = (event for event in spool.reports if isinstance(event, StoreTrouble))
            assert trouble.doing == f"answer the client of {draft.id}"
            await asyncio.sleep(0)  # the note is cleared at the end of the turn
            assert draft.id not in doubts(spool)
            # It finds the answer in a file when it looks.
            assert await draft.answer(0) == OK


async def test_client_that_gave_up_long_before_its_turn_is_recorded(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed, "_FRESH", 0.0)
    async with spool() as store, spool() as other, linked(store, other) as feed:
        await store.history().keep(WIDE)
        draft = await committed(store)
        asking = asyncio.ensure_future(feed.claim())
        async with asyncio.timeout(PATIENCE):
            assert await draft.answer(0) is None
            while Withdrawn(id=draft.id) not in spool.reports:  # noqa: ASYNC110 - seen by asking
                await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait((asking,))
        assert list((spool.directory / ".waiting").iterdir()) == []


def fill(spool: SpoolOpener) -> None:
    """Send to the receiver's socket for answers until it is full."""
    (path,) = (spool.directory / ".wake").glob(f"{SOCKET}.*")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)  # noqa: FBT003 - the library's own
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.sendto(b"no answer", str(path))


def doubts(spool: SpoolOpener) -> str:
    return "".join(
        path.read_bytes().decode(errors="replace")
        for path in (spool.directory / ".doubt").iterdir()
    )


async def test_message_whose_client_cannot_be_looked_for_goes_back(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handed, "_FRESH", -1.0)
    async with spool() as store, spool() as other, linked(store, other) as feed:
        with monkeypatch.context() as patch:
            patch.setattr(HandedClaim, "is_awaited", full)
            draft = await committed(store)
            claim = await next_of(feed)
        async with draft:
            assert not isinstance(claim, HandedClaim)
            assert await claim.settle(Done(), answer=OK)
            assert await answered(draft) == OK


async def test_message_whose_refusal_cannot_be_told_goes_back(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        with monkeypatch.context() as patch:
            patch.setattr(DeliveryWait, "tell", full)
            with pytest.raises(StoreError):
                await claim.settle(Fail(NEVER), answer=NEVER)
        async with draft, await next_of(feed) as again:
            assert again.id == draft.id
            await again.settle(Fail(LATER), answer=LATER)
            assert await answered(draft) == LATER


async def test_refused_message_does_not_go_back_if_the_mark_of_its_client_cannot_be_removed(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        async with draft:
            with monkeypatch.context() as patch:
                patch.setattr(delivery_wait, "_removed", full)
                assert await claim.settle(Fail(NEVER), answer=NEVER)
            assert await answered(draft) == NEVER


async def test_delivered_message_whose_answer_cannot_be_told_does_not_go_back(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool() as store, spool() as other, linked(store, other) as feed:
        draft, claim = await handed_over(store, feed)
        with monkeypatch.context() as patch:
            patch.setattr(DeliveryWait, "tell", full)
            with pytest.raises(StoreError):
                await claim.settle(Done(), answer=OK)
        async with draft, await committed(store) as later, await next_of(feed) as found:
            assert found.id == later.id
            assert await found.settle(Done(), answer=OK)
