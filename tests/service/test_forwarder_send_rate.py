"""A server that accepts few messages per second gets all of them, in few attempts."""

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.fakes.smtp_peer import Act, Close, SmtpPeer
from tests.service.forwarding import Office
from tests.service.test_forwarder_smarthost import working

from emailrelay.events.delivery import Deferred
from emailrelay.events.servers import SlowedDown
from emailrelay.queue_id import QueueId
from emailrelay.routes import Route, Routes
from emailrelay.settlement import Defer, Done
from emailrelay_forwarder.delivery import throttling
from emailrelay_forwarder.server.send_rate import REST

SENDING = "454 Throttling failure: Maximum sending rate exceeded."
DAILY = "454 Throttling failure: Daily message quota exceeded."


@dataclass(slots=True)
class Throttling(SmtpPeer):
    """Takes ``rate`` messages a second, and as many at once after a second without any."""

    rate: float = 5.0
    clock: Callable[[], float] = time.monotonic
    refusal: str = SENDING
    room: float = 0.0
    looked: float = 0.0

    def act(self, step: str) -> Act:
        if step != "DATA":
            return SmtpPeer.act(self, step)
        now = self.clock()
        self.room = min(self.rate, self.room + (now - self.looked) * self.rate)
        self.looked = now
        if self.room < 1:
            return self.refusal
        self.room -= 1
        return "354 go ahead"


async def deliver_all(office: Office, messages: int) -> None:
    """Forward each message when it is due, the clock going from one to the next."""
    due: list[tuple[float, int, QueueId]] = []
    for number in range(messages):
        heapq.heappush(due, (office.now, number, await office.put()))
    while due:
        when, number, message = heapq.heappop(due)
        office.now = max(office.now, when)
        settlement = await office.forward(message)
        if isinstance(settlement, Defer):
            again = settlement.attempt.next_attempt
            assert again is not None
            heapq.heappush(due, (again, number, message))


@pytest.mark.parametrize("code", ["454 ", "454 4.7.0 "])
async def test_server_with_a_rate_gets_all_messages_in_few_attempts(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttling, "SHORT", 0)  # the clock does not go on while a message waits
    refusal = SENDING.replace("454 ", code)
    office = Office("unused")
    async with Throttling(refusal=refusal, clock=lambda: office.now) as peer:
        office = Office(peer.address)
        began = office.now
        await deliver_all(office, 60)
        await office.forwarding.close()
    assert len(peer.messages) == 60
    assert len(peer.lines("MAIL")) <= 60 + 10
    # Twelve seconds would be all that the server allows.
    assert office.now - began <= 30
    assert [event.reason for event in office.events(SlowedDown)] == [refusal]
    assert office.events(Deferred) == []


async def test_many_connections_at_once_learn_the_rate_together() -> None:
    async with Throttling(rate=80) as peer:
        office = Office(peer.address, clock=time.time)
        for _ in range(120):
            await office.put()
        async with working(office):
            await peer.until(messages=120)
    assert len(peer.messages) == 120
    assert len(peer.lines("MAIL")) <= 120 + 60


async def test_daily_quota_that_is_used_up_is_waited_for_by_all_messages() -> None:
    async with SmtpPeer({"DATA": [DAILY, "354 go"]}) as peer:
        office = Office(peer.address)
        first, second = await office.put(), await office.put()
        settlement = await office.forward(first)
        assert isinstance(settlement, Defer)
        assert settlement.attempt.next_attempt == office.now + REST
        assert isinstance(await office.forward(second), Defer)
        assert len(peer.lines("DATA")) == 1
        office.now += REST
        assert isinstance(await office.forward(first), Done)
        await office.forwarding.close()


async def test_greylisted_recipient_beside_a_throttled_one_comes_at_the_usual_time() -> None:
    replies = {b"a@t": SENDING, b"b@t": "451 4.7.1 greylisted, come back"}
    async with SmtpPeer(recipients=replies) as peer:
        office = Office(peer.address)
        settlement = await office.send("a@t", "b@t")
        await office.forwarding.close()
    assert isinstance(settlement, Defer)
    again = settlement.attempt.next_attempt
    assert again is not None
    assert again > office.now + 40
    assert len(office.events(SlowedDown)) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        "450 4.7.1 <{0}>: Recipient address rejected: Greylisted",
        "450 4.7.1 <{0}>: Recipient address rejected: Mailbox quota exceeded",
        "451 {0}: come back later",
        "450 4.7.1 no mail for {1} now",
    ],
)
@pytest.mark.parametrize("name", ["daily-quota", "rate.connections", "throttle.it"])
async def test_address_that_a_client_chooses_slows_no_mail(refusal: str, name: str) -> None:
    address = f"{name}@there.test"
    said = refusal.format(address, name)
    async with SmtpPeer(recipients={address.encode(): said}) as peer:
        office = Office(peer.address)
        for _ in range(3):
            assert isinstance(await office.send(address), Defer)
        assert isinstance(await office.send("other@there.test"), Done)
        assert not office.forwarding.paused
        await office.forwarding.close()
    assert office.events(SlowedDown) == []


async def test_quota_named_for_recipients_counts_when_it_stops_two_of_them() -> None:
    said = "450 4.7.1 Recipient address rejected: Message quota exceeded"
    async with SmtpPeer(recipients=dict.fromkeys([b"a@t", b"b@t"], said)) as peer:
        office = Office(peer.address)
        for recipients in (("a@t",), ("a@t",), ("c@t",), ("b@t",), ("a@t", "b@t", "c@t")):
            await office.send(*recipients)
        assert office.events(SlowedDown) == []
        assert isinstance(await office.send("b@t"), Defer)
        assert isinstance(await office.send("a@t"), Defer)
        assert len(office.events(SlowedDown)) == 1
        tried = len(peer.lines("MAIL"))
        assert isinstance(await office.send("c@t"), Defer)
        assert len(peer.lines("MAIL")) == tried
        office.now += REST
        assert isinstance(await office.send("c@t"), Done)
        await office.forwarding.close()


async def test_server_is_not_slowed_by_the_words_of_another() -> None:
    one = SmtpPeer({"DATA": Close()}, recipients={b"a@t": SENDING})
    async with one, SmtpPeer() as two:
        route = Route(name="two", smarthosts=(one.address, two.address))
        office = Office("unused", routes=Routes(default=route))
        assert isinstance(await office.send("a@t", "b@t"), Defer)
        await office.forwarding.close()
    assert [m.recipients for m in two.messages] == [[b"b@t"]]
    assert [event.peer for event in office.events(SlowedDown)] == [one.address]
