"""A server that can be used again makes its own mail due, and not the mail for other servers."""

import asyncio
from copy import copy

import pytest
from tests.fakes.smtp_peer import Act, Say, SmtpPeer, Wait
from tests.service.forwarding import Office
from tests.service.test_forwarder_awaited import heard
from tests.service.test_forwarder_named_servers import ENDLESS
from tests.service.test_forwarder_smarthost import working

from emailrelay.events.delivery import Deferred
from emailrelay.events.servers import SmarthostBack, SmarthostTrouble
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Settlement
from emailrelay.stage import Stage
from emailrelay.store.memory.claim import MemoryClaim
from emailrelay_forwarder import recalls
from emailrelay_forwarder.delivery.delivery import Progress
from emailrelay_forwarder.recalls import Recalls
from emailrelay_forwarder.server import breaker, pause, waiting_mail
from emailrelay_forwarder.server.breaker import Breaker
from emailrelay_forwarder.server.waiting_mail import Recall, WaitingMail
from emailrelay_forwarder.session.session_error import SessionError

NOT_NOW: Act = Say(b"421 4.3.2 not now\r\n", then_close=True)
LATER: Act = Say(b"450 4.2.0 later\r\n", then_close=True)


def flapping() -> SmtpPeer:
    """Return a server that refuses each second connection, and all mail on the others."""
    return SmtpPeer({"greeting": [NOT_NOW, "220 peer.test"] * 100, "RCPT": LATER})


async def test_server_that_comes_and_goes_makes_no_mail_for_another_due() -> None:
    async with flapping() as coming, SmtpPeer({"RCPT": "451 4.7.1 greylisted"}) as steady:
        office = Office(coming.address)
        async with working(office):
            await office.put(forward_to_address=steady.address)
            await office.until(Deferred)
            for turn in range(1, 6):
                await office.put()
                await office.until(SmarthostTrouble, times=turn)
                office.forwarding.try_now()
                await office.until(Deferred, times=1 + 2 * turn)
                await coming.until(closed=True)
        assert len(coming.lines("RCPT")) == 5
        assert len(steady.lines("RCPT")) == 1


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the pauses that failures make, without their spread."""
    found: list[float] = []
    failed = Breaker.failed

    def noted(self: Breaker, trouble: SessionError, *, chance: float) -> float:
        found.append(failed(self, trouble, chance=0 * chance))
        return found[-1]

    monkeypatch.setattr(Breaker, "failed", noted)
    return found


async def test_pauses_for_a_server_that_refuses_all_mail_grow(pauses: list[float]) -> None:
    async with flapping() as peer:
        office = Office(peer.address)
        for turn in range(1, 4):
            assert isinstance(await office.send(), Defer)
            office.forwarding.try_now()
            await office.until(SmarthostBack, times=turn)
            assert isinstance(await office.send(), Defer)
            await peer.until(closed=True)
        await office.forwarding.close()
    assert pauses == [1.0, 2.0, 4.0]


async def test_accepted_message_makes_the_next_pause_short_again(pauses: list[float]) -> None:
    taken: Act = Say(b"250 taken\r\n", then_close=True)
    greetings: list[Act] = [NOT_NOW, NOT_NOW, "220 peer.test", NOT_NOW]
    async with SmtpPeer({"greeting": greetings, "DOT": taken}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Defer)
        for number in (1, 2):
            await peer.until(connections=number)
            office.forwarding.try_now()
        await office.until(SmarthostBack)
        assert isinstance(await office.send(), Done)
        await peer.until(closed=True)
        assert isinstance(await office.send(), Defer)
        await office.forwarding.close()
    assert pauses == [1.0, 2.0, 1.0]


async def test_message_that_is_being_recorded_when_its_server_comes_back_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    settle = MemoryClaim.settle

    async def slowly(self: MemoryClaim, settlement: Settlement, *more: object) -> bool:
        reached.set()
        await go.wait()
        return await settle(self, settlement, *more)  # type: ignore[arg-type] # as they came

    monkeypatch.setattr(MemoryClaim, "settle", slowly)
    async with SmtpPeer({"greeting": [NOT_NOW, "220 peer.test"]}) as peer:
        office = Office(peer.address)
        recalled: list[Recall] = []
        office.on_recovery = recalled.append
        message = await office.put()
        forwarding = asyncio.create_task(office.forward(message))
        await reached.wait()
        office.forwarding.try_now()
        await office.until(SmarthostBack)
        go.set()
        assert isinstance(await forwarding, Defer)
        await office.forwarding.close()
    assert [tuple(each.messages) for each in recalled] == [(), (message,)]


async def test_message_that_a_second_server_answered_for_does_not_wait_for_the_first() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    back = Wait(reached, go, b"220 peer.test\r\n")
    async with SmtpPeer({"greeting": [NOT_NOW, back]}) as first, SmtpPeer({"RCPT": LATER}) as other:
        office = Office(first.address)
        recalled: list[Recall] = []
        office.on_recovery = recalled.append
        both = f"{first.address},{other.address}"
        assert isinstance(await office.forward(await office.put(forward_to_address=both)), Defer)
        office.forwarding.try_now()
        await reached.wait()
        go.set()
        await office.until(SmarthostBack)
        await office.forwarding.close()
    assert [each.messages for each in recalled] == [[]]


def test_so_many_messages_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_mail, "MOST", 2)
    waiting = WaitingMail()
    first, second, third = (QueueId(f"1.1.{number}") for number in range(1, 4))
    for message in (first, second, first):
        waiting.add(message)
    assert waiting.take() == ((first, second), False)
    for message in (first, second, third):
        waiting.add(message)
    assert waiting.take() == ((first, second), True)
    assert waiting.take() == ((), False)


async def test_all_mail_is_made_due_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[str] = []
    wakes = asyncio.Event()

    def wake() -> None:
        woken.append("")
        wakes.set()

    office = Office("127.0.0.1:1")
    async with office.store.feed(Stage.READY) as feed:
        monkeypatch.setattr(recalls, "REST", 3600.0)
        recalling = Recalls(feed, wake)
        for _ in range(2):
            recalling.make_due(Recall((), more=True))
            await asyncio.wait_for(wakes.wait(), 60)
        recalling.close()
    assert len(woken) == 1


async def test_message_that_the_operator_made_due_does_not_wait_long_for_a_silent_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pause, "_LONGEST_WISH", 0.01)
    silent = Wait(asyncio.Event(), asyncio.Event(), b"220 peer.test\r\n")
    async with SmtpPeer({"greeting": [NOT_NOW, silent]}) as peer:
        office, recalled = Office(peer.address, ENDLESS), asyncio.Queue[Recall]()
        office.on_recovery = recalled.put_nowait
        message = await office.put()
        assert isinstance(await office.forward(message), Defer)
        assert await office.store.flush(message)
        assert isinstance(await office.forward(message), Defer)
        await asyncio.wait_for(silent.reached.wait(), 60)
        silent.go.set()
        assert (await asyncio.wait_for(recalled.get(), 60)).messages == [message]
        await office.forwarding.close()


async def test_refused_message_of_a_waiting_client_waits_for_no_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "FIRST", 60.0)
    async with SmtpPeer({"greeting": [NOT_NOW, "220 peer.test"]}) as peer:
        office, recalled = Office(peer.address), asyncio.Queue[Recall]()
        office.on_recovery = recalled.put_nowait
        for _ in range(2):
            await heard(office, "a@there.test")
        message = await office.put()
        assert isinstance(await office.forward(message), Defer)
        office.forwarding.try_now()
        assert (await asyncio.wait_for(recalled.get(), 60)).messages == [message]
        await office.forwarding.close()


async def test_message_may_be_in_hand_twice() -> None:
    """A database gives a message again when the lease of its claim has run out."""
    async with SmtpPeer({"RCPT": "450 4.2.0 later"}) as peer:
        office = Office(peer.address)
        claim = await office.claim(await office.put())
        both = (office.forwarding.forward(each, Progress()) for each in (claim, copy(claim)))
        assert [type(end) for end in await asyncio.gather(*both)] == [Defer, Defer]
