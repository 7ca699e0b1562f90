"""Mail follows its routes: the right servers, in order, within limits, with the right sender."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.fakes.smtp_peer import Act, Close, Say, SmtpPeer, Wait
from tests.service.forwarding import Office
from tests.service.test_forwarder_awaited import heard
from tests.service.test_forwarder_smarthost import closed_port, working

from emailrelay.envelope import Address
from emailrelay.events.delivery import Deferred, Delivered
from emailrelay.events.servers import RateReached, SmarthostBack
from emailrelay.events.store import PossibleDuplicate
from emailrelay.journal import History
from emailrelay.reply import Reply
from emailrelay.routes import Rate, Route, Routes
from emailrelay.schedule import Schedule
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.store.memory.mail import MemoryMail
from emailrelay_forwarder.server import gate, idle_sessions

A, B = Address("ann@a.test"), Address("bob@b.test")


def to(peer: SmtpPeer, *more: SmtpPeer) -> Route:
    return Route(name="usual", smarthosts=tuple(each.address for each in (peer, *more)))


def split(one: SmtpPeer, two: SmtpPeer) -> Routes:
    """Send mail for a.test to one, and all other mail to two."""
    return Routes((replace(to(one), name="a", recipient=("a.test",)),), to(two))


@asynccontextmanager
async def two_ways(
    one: SmtpPeer | None = None, two: SmtpPeer | None = None
) -> AsyncGenerator[tuple[SmtpPeer, SmtpPeer, Office]]:
    async with one or SmtpPeer() as first, two or SmtpPeer() as second:
        office = Office("unused", routes=split(first, second))
        yield first, second, office
        await office.forwarding.close()


async def story(office: Office, *recipients: str) -> tuple[History, Defer | Fail]:
    """Send to these recipients, and return the part of the message that stays in the store."""
    message = await office.put(*recipients)
    settlement = await office.forward(message)
    assert isinstance(settlement, Defer | Fail)
    history = await office.history(message)
    assert history is not None
    return history, settlement


async def test_recipients_of_one_message_go_their_own_ways() -> None:
    async with two_ways() as (one, two, office):
        assert isinstance(await office.send(A, B, "x@a.test"), Done)
        assert [message.recipients for message in one.messages] == [[b"ann@a.test", b"x@a.test"]]
        assert [message.recipients for message in two.messages] == [[b"bob@b.test"]]
        (told,) = office.events(Delivered)
        assert told.recipients == 3
        assert one.address in told.peer
        assert two.address in told.peer


async def test_what_one_way_refuses_does_not_stop_the_other() -> None:
    async with two_ways(SmtpPeer({"MAIL": "550 5.7.1 not you"})) as (_, two, office):
        history, settlement = await story(office, A, B)
        assert isinstance(settlement, Fail)
        assert list(history.delivered) == [B]
        assert history.refused == {A: Reply(550, "5.7.1 not you")}
        assert len(two.messages) == 1


async def test_a_dead_way_waits_alone_and_no_recipient_gets_a_second_copy() -> None:
    async with SmtpPeer() as two:
        dead = Route(name="a", smarthosts=(f"127.0.0.1:{closed_port()}",), recipient=("a.test",))
        office = Office("unused", routes=Routes((dead,), to(two)))
        message = await office.put(A, B)
        settlement = await office.forward(message)
        assert isinstance(settlement, Defer)
        assert list(settlement.attempt.replies) == [B]
        assert settlement.attempt.replies[B].accepted
        assert settlement.attempt.trouble is not None
        assert settlement.attempt.trouble.code == 451
        assert isinstance(await office.forward(message), Defer)
        assert len(two.messages) == 1
        await office.forwarding.close()


async def test_a_server_that_does_not_want_us_refuses_no_recipient_for_good() -> None:
    async with two_ways(SmtpPeer({"greeting": "554 go away"})) as (_, _, office):
        history, settlement = await story(office, A, B)
        assert isinstance(settlement, Defer)
        assert history.refused == {}
        assert str(settlement.attempt.trouble) == "554 go away"


async def test_doubt_on_one_way_is_told_and_the_other_goes_on() -> None:
    async with two_ways(SmtpPeer({"DOT": Close()})) as (_, two, office):
        _, settlement = await story(office, A, B)
        assert isinstance(settlement, Defer)
        assert len(office.events(PossibleDuplicate)) == 1
        assert len(two.messages) == 1


async def test_no_route_and_a_misspelt_server_leave_mail_waiting() -> None:
    async with SmtpPeer() as one:
        only_a = Routes((replace(to(one), recipient=("a.test",)),))
        office = Office("unused", routes=only_a)
        _, settlement = await story(office, A, B)
        assert isinstance(settlement, Defer)
        assert "no route for <bob@b.test>" in str(settlement.attempt.trouble)
        assert len(one.messages) == 1
        message = await office.put(A, forward_to_address="nonsense")
        assert isinstance(await office.forward(message), Defer)
        await office.forwarding.close()


async def test_a_schedule_is_that_of_the_route() -> None:
    async with SmtpPeer({"DOT": "451 4.3.0 later"}) as peer:
        slow = replace(to(peer), schedule=Schedule(first=500, spread=0))
        office = Office("unused", routes=Routes(default=slow))
        _, settlement = await story(office)
        assert isinstance(settlement, Defer)
        assert settlement.attempt.next_attempt == office.now + 500
        await office.forwarding.close()


async def test_routes_are_looked_up_at_each_attempt() -> None:
    async with SmtpPeer({"DOT": "451 4.3.0 later"}) as one, SmtpPeer() as two:
        office = Office(one.address)
        message = await office.put()
        assert isinstance(await office.forward(message), Defer)
        await office.forwarding.close()
        after_the_change = Office(two.address, mail=office.mail)
        assert isinstance(await after_the_change.forward(message), Done)
        await after_the_change.forwarding.close()


async def test_the_sender_is_rewritten_on_the_wire_and_not_in_the_store() -> None:
    async with SmtpPeer() as peer:
        route = replace(to(peer), envelope_from="public.test")
        office = Office("unused", routes=Routes(default=route))
        assert isinstance(await office.forward(await office.put(sender="ann@inside")), Done)
        assert isinstance(await office.forward(await office.put(sender="")), Done)
        assert [message.sender for message in peer.messages] == [b"ann@public.test", b""]
        await office.forwarding.close()
    refusing = SmtpPeer({"DOT": "451 4.3.0 later"})
    async with refusing as peer:
        route = replace(to(peer), envelope_from="relay@public.test")
        office = Office("unused", routes=Routes(default=route))
        message = await office.put(sender="ann@inside")
        assert isinstance(await office.forward(message), Defer)
        found = await office.store.describe(message)
        assert found is not None
        assert found[1].sender == "ann@inside"
        await office.forwarding.close()


async def test_the_next_server_takes_the_mail_of_a_dead_one_and_the_first_is_used_again() -> None:
    port = closed_port()
    async with SmtpPeer() as backup:
        servers = (f"127.0.0.1:{port}", backup.address)
        office = Office("unused", routes=Routes(default=Route(name="r", smarthosts=servers)))
        for _ in range(3):
            assert isinstance(await office.send(), Done)
        assert len(backup.messages) == 3
        assert office.events(Deferred) == []
        async with SmtpPeer(port=port) as first:
            office.forwarding.try_now()
            await office.until(SmarthostBack)
            assert isinstance(await office.send(), Done)
            assert len(first.messages) == 1
            assert len(backup.messages) == 3
        await office.forwarding.close()


async def test_a_server_that_sends_us_away_at_mail_is_passed_over_at_once() -> None:
    going: Act = Say(b"421 4.3.2 maintenance\r\n", then_close=True)
    async with SmtpPeer({"MAIL": going}) as first, SmtpPeer() as backup:
        office = Office("unused", routes=Routes(default=to(first, backup)))
        assert isinstance(await office.send(), Done)
        assert len(backup.messages) == 1
        await office.forwarding.close()


@pytest.mark.parametrize("step", ["DOT", "CONTENT"])
async def test_content_that_a_server_has_had_goes_to_no_other_server_at_once(step: str) -> None:
    async with SmtpPeer({step: Close()}) as first, SmtpPeer() as backup:
        office = Office("unused", routes=Routes(default=to(first, backup)))
        assert isinstance(await office.send(), Defer)
        assert backup.messages == []
        await office.forwarding.close()


async def test_mail_waits_when_no_server_can_be_used() -> None:
    dead = tuple(f"127.0.0.1:{closed_port()}" for _ in range(2))
    office = Office("unused", routes=Routes(default=Route(name="r", smarthosts=dead)))
    assert isinstance(await office.send(), Defer)
    assert isinstance(await office.send(), Defer)
    assert len(office.events(Deferred)) == 1
    assert office.forwarding.paused
    await office.forwarding.close()


async def test_one_answer_counts_for_all_ways_while_no_recipient_has_the_message() -> None:
    async with two_ways(SmtpPeer(recipients={A.encode(): "550 5.1.1 who?"})) as (_, two, office):
        message, answer = await heard(office, A, B)
        assert answer == Reply(550, "5.1.1 who?")
        assert two.messages == []
        assert await office.store.describe(message) is None


async def test_when_one_way_has_the_message_the_client_is_told_yes_and_the_sender_of_the_rest() -> (
    None
):
    async with two_ways(two=SmtpPeer({"MAIL": "550 5.7.1 not you"})) as (one, _, office):
        message, answer = await heard(office, A, B)
        assert answer is not None
        assert answer.accepted
        assert len(one.messages) == 1
        history = await office.history(message)
        assert history is not None
        assert list(history.refused) == [B]


def limited(peer: SmtpPeer, mail: MemoryMail, *, connections: int, most: int = 20) -> Office:
    route = replace(to(peer), connections=connections)
    return Office("unused", routes=Routes(default=route), mail=mail, most=most)


async def test_connections_are_limited_over_two_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "SLICE", 0.02)
    mail = MemoryMail()
    async with SmtpPeer() as peer:
        one, two = (limited(peer, mail, connections=2) for _ in range(2))
        async with working(one), working(two):
            for _ in range(100):
                await one.put()
            await peer.until(messages=100)
        assert peer.most_open <= 2
    assert one.events(Deferred) == []
    assert two.events(Deferred) == []


async def test_an_idle_connection_is_given_up_for_another_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "SLICE", 0.0)
    monkeypatch.setattr(idle_sessions, "LOOK", 0.01)
    monkeypatch.setattr(idle_sessions, "IDLE", 60)
    mail = MemoryMail()
    async with SmtpPeer() as peer:
        one, two = (limited(peer, mail, connections=1) for _ in range(2))
        for office in (one, two, one):
            async with asyncio.timeout(60):
                assert isinstance(await office.send(), Done)
        assert peer.most_open == 1
        await one.forwarding.close()
        await two.forwarding.close()


async def test_mail_waits_while_others_have_all_connections_and_no_server_is_blamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "PATIENCE", 0.05)
    mail = MemoryMail()
    reached, go = asyncio.Event(), asyncio.Event()
    async with SmtpPeer({"MAIL": [Wait(reached, go)]}) as peer:
        one, two = (limited(peer, mail, connections=1) for _ in range(2))
        first = asyncio.create_task(one.send())
        await reached.wait()
        settlement = await two.send()
        assert isinstance(settlement, Defer)
        assert "all 1 connections of route usual" in str(settlement.attempt.trouble)
        assert not two.forwarding.paused
        go.set()
        assert isinstance(await first, Done)
        await one.forwarding.close()
        assert isinstance(await two.send(), Done)
        await two.forwarding.close()


async def test_a_session_that_breaks_gives_its_connection_back() -> None:
    going: Act = Say(b"421 4.3.2 bye\r\n", then_close=True)
    async with SmtpPeer({"MAIL": [going], "greeting": ["554 no"]}) as peer:
        office = limited(peer, MemoryMail(), connections=1)
        assert isinstance(await office.send(), Defer)
        office.forwarding.try_now()
        await office.until(SmarthostBack)
        assert isinstance(await office.send(), Defer)
        office.forwarding.try_now()
        async with asyncio.timeout(gate.PATIENCE / 2):
            while not isinstance(await office.send(), Done):  # noqa: ASYNC110 -- each turn is a try
                await asyncio.sleep(0)
        await office.forwarding.close()


async def test_messages_above_the_rate_get_turns_of_their_own() -> None:
    async with SmtpPeer() as peer:
        route = replace(to(peer), rate=Rate(2, 60))
        office = Office("unused", routes=Routes(default=route))
        for _ in range(2):
            assert isinstance(await office.send(), Done)
        turns: list[float | None] = []
        for _ in range(3):
            settlement = await office.send()
            assert isinstance(settlement, Defer)
            turns.append(settlement.attempt.next_attempt)
        assert turns == [office.now + 60, office.now + 90, office.now + 120]
        assert len(office.events(RateReached)) == 1
        assert office.events(Deferred) == []
        office.now += 60
        assert isinstance(await office.send(), Done)
        assert len(peer.messages) == 3
        await office.forwarding.close()


async def test_a_route_at_its_rate_holds_up_no_other() -> None:
    async with two_ways() as (one, two, office):
        assert office.routes is not None
        (a,) = office.routes.listed
        routes = Routes((replace(a, rate=Rate(1, 60)),), office.routes.default)
        limited_office = Office("unused", routes=routes)
        assert isinstance(await limited_office.send(A), Done)
        assert isinstance(await limited_office.send(A), Defer)
        assert isinstance(await limited_office.send(B), Done)
        assert (len(one.messages), len(two.messages)) == (1, 1)
        await limited_office.forwarding.close()


async def test_too_many_connections_for_one_connection_pauses_the_server() -> None:
    script: dict[str, Act | list[Act]] = {"MAIL": ["451 4.7.0 too many connections, slow down"]}
    async with SmtpPeer(script) as peer:
        office = Office(peer.address, most=1)
        assert isinstance(await office.send(), Defer)
        assert office.forwarding.paused
        assert isinstance(await office.send(), Defer)
        assert len(peer.lines("MAIL")) == 1
        office.forwarding.try_now()
        async with asyncio.timeout(60):
            while not isinstance(await office.send(), Done):  # noqa: ASYNC110 -- each turn is a try
                await asyncio.sleep(0)
        assert not office.forwarding.paused
        await office.forwarding.close()


async def test_a_days_share_that_is_used_up_fails_no_mail() -> None:
    used_up = "550 5.4.5 Daily user sending limit exceeded"
    async with SmtpPeer({"MAIL": [used_up]}) as peer:
        office = Office(peer.address, most=1)
        history, settlement = await story(office)
        assert isinstance(settlement, Defer)
        assert history.refused == {}
        assert "5.4.5 Daily user" in next(iter(settlement.attempt.replies.values())).text
        await office.forwarding.close()
