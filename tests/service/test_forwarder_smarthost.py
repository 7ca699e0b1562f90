"""The forwarder pauses for a server in trouble, logs it once, and tests it; other mail goes on."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.fakes.smtp_peer import Act, Close, Hang, Read, Say, Script, SmtpPeer, Wait
from tests.service.forwarding import HASTY, PATIENT, Office

from emailrelay.events.delivery import Deferred, Delivered
from emailrelay.events.servers import SmarthostBack, SmarthostTrouble
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done
from emailrelay.stage import Stage
from emailrelay.store.memory.store import MemoryStore
from emailrelay_forwarder.recalls import Recalls
from emailrelay_forwarder.server import (
    breaker,
    connection_limit,
    connection_queue,
    idle_sessions,
    pause,
)
from emailrelay_forwarder.session.greeting_timeout import GreetingTimeout
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.worker import ForwarderWorker


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@asynccontextmanager
async def working(office: Office, *, tasks: int = 25) -> AsyncGenerator[asyncio.Event]:
    """Run a worker over the office's store; yields the event that stops it."""
    stop = asyncio.Event()
    async with office.store.feed(Stage.READY) as feed:
        office.on_recovery = Recalls(feed, feed.wake).make_due
        worker = ForwarderWorker(
            feed=feed,
            forwarding=office.forwarding,
            report=office.told.append,
            tasks=tasks,
            grace=3.0,
        )
        running = asyncio.create_task(worker.run(stop))
        try:
            yield stop
        finally:
            stop.set()
            async with asyncio.timeout(60):
                await running
                await office.forwarding.close()


async def test_trouble_is_told_once_and_mail_is_turned_away_without_attempts() -> None:
    async with SmtpPeer({"greeting": "554 go away"}) as peer:
        office = Office(peer.address)
        for _ in range(20):
            assert isinstance(await office.send(), Defer)
        assert peer.connections == 1
        await office.forwarding.close()
    assert len(office.events(SmarthostTrouble)) == 1
    assert "go away" in office.events(SmarthostTrouble)[0].reason
    assert len(office.events(Deferred)) == 1


async def test_message_that_comes_in_the_pause_records_that_it_was_not_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "FIRST", 60.0)
    address = f"127.0.0.1:{closed_port()}"
    office = Office(address)
    recorded: list[str] = []
    for _ in range(2):
        settlement = await office.send()
        assert isinstance(settlement, Defer)
        recorded.append(str(settlement.attempt.trouble))
    await office.forwarding.close()
    why = f"no connection to {address}: connection refused"
    assert recorded == [f"451 4.4.1 {why}", f"451 4.4.1 not tried now: {why}"]
    assert [e.reason for e in office.events(SmarthostTrouble)] == [f"451 4.4.1 {why}"]


async def test_trouble_that_changes_is_told_again_and_once() -> None:
    blocked: Act = "554 5.7.1 on our block list"
    async with SmtpPeer(
        {"greeting": [Close(), blocked, blocked, Close(), "220 peer.test"]}
    ) as peer:
        office = Office(peer.address)
        await office.send()
        for number in range(1, 5):
            await peer.until(connections=number)
            office.forwarding.try_now()
        await office.until(SmarthostBack)
        await office.forwarding.close()
    reasons = [event.reason for event in office.events(SmarthostTrouble)]
    assert len(reasons) == 3
    assert "closed" in reasons[0]
    assert "on our block list" in reasons[1]
    assert "closed" in reasons[2]


async def test_server_is_found_to_be_back_and_its_mail_is_due() -> None:
    port = closed_port()
    office = Office(f"127.0.0.1:{port}")
    message = await office.put()
    async with working(office):
        await office.until(SmarthostTrouble)
        async with SmtpPeer(port=port) as peer:
            office.forwarding.try_now()
            await peer.until(messages=1)
            await office.until(Delivered)
        assert await office.history(message) is None
    assert len(office.events(SmarthostBack)) == 1


@pytest.mark.parametrize("obeyed", [MemoryStore.flush, MemoryStore.retry])
async def test_message_that_the_operator_made_due_is_tried_in_spite_of_the_pause(
    obeyed: Callable[[MemoryStore, QueueId], Awaitable[bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "FIRST", 60.0)
    monkeypatch.setattr(pause, "_LONGEST_WISH", 60.0)
    port = closed_port()
    office = Office(f"127.0.0.1:{port}")
    message = await office.put()
    assert isinstance(await office.forward(message), Defer)
    async with SmtpPeer(port=port):
        assert await obeyed(office.store, message)
        assert isinstance(await office.forward(message), Done)
        await office.forwarding.close()


async def test_many_messages_that_the_operator_made_due_make_one_probe_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "FIRST", 60.0)
    monkeypatch.setattr(pause, "_LONGEST_WISH", 60.0)
    async with SmtpPeer({"greeting": "554 go away"}) as peer:
        office = Office(peer.address)
        messages = [await office.put() for _ in range(20)]
        for message in messages:
            assert isinstance(await office.forward(message), Defer)
        assert peer.connections == 1
        for message in messages:
            assert await office.store.flush(message)
        forwarding = [asyncio.create_task(office.forward(message)) for message in messages]
        for each in forwarding:
            assert isinstance(await each, Defer)
        assert peer.connections == 2
        await office.forwarding.close()


async def test_many_tasks_make_one_connection_to_a_dead_server() -> None:
    async with SmtpPeer({"greeting": Hang()}) as peer:
        office = Office(peer.address, HASTY)
        sendings = [asyncio.create_task(office.send()) for _ in range(20)]
        for sending in sendings:
            assert isinstance(await sending, Defer)
        assert peer.connections == 1
        await office.forwarding.close()


async def test_server_that_takes_few_connections_gets_few() -> None:
    greetings: list[Act] = ["220 hello", "220 hello"]
    greetings += [Say(b"421 4.7.0 too many connections\r\n", then_close=True)] * 100
    async with SmtpPeer({"greeting": greetings}) as peer:
        office = Office(peer.address)
        async with working(office):
            for _ in range(60):
                await office.put()
            await peer.until(messages=60)
    assert office.events(SmarthostTrouble) == []
    assert office.events(Deferred) == []


async def test_hanging_server_does_not_stop_mail_for_another() -> None:
    async with SmtpPeer({"RCPT": Hang()}) as hanging, SmtpPeer() as well:
        office = Office(hanging.address, PATIENT, most=2)
        async with working(office, tasks=4):
            for _ in range(2):
                await office.put()
            await hanging.until(connections=2)
            for _ in range(10):
                await office.put(forward_to_address=well.address)
            await well.until(messages=10)


async def test_refusal_of_further_mail_pauses_the_server_until_it_answers_for_some() -> None:
    going: Act = Say(b"421 4.3.2 maintenance\r\n", then_close=True)
    async with SmtpPeer({"MAIL": [going]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Defer)
        taken_at_recovery: list[int] = []
        office.on_recovery = lambda _recall: taken_at_recovery.append(len(peer.messages))
        assert isinstance(await office.send(), Defer)
        assert peer.connections == 1
        office.forwarding.try_now()
        async with asyncio.timeout(60):
            while not isinstance(await office.send(), Done):  # noqa: ASYNC110 -- each turn is a try
                await asyncio.sleep(0)
        assert taken_at_recovery == [1]
        await office.forwarding.close()


async def test_no_more_connections_than_allowed() -> None:
    async with SmtpPeer() as peer:
        office = Office(peer.address, most=3)
        async with working(office):
            for _ in range(100):
                await office.put()
            await peer.until(messages=100)
        assert peer.most_open <= 3


async def test_slow_server_gets_more_connections_than_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_limit, "SLOW", 0.0)
    async with SmtpPeer() as peer:
        office = Office(peer.address, most=30)
        for _ in range(400):
            await office.put()
        async with working(office, tasks=35):
            await peer.until(messages=400)
        assert connection_limit.START < peer.most_open <= 30


async def test_server_that_asks_for_less_gets_fewer_connections() -> None:
    less = "451 4.7.1 too many connections, one after the other, please"
    reached, go = asyncio.Event(), asyncio.Event()
    refusals = connection_limit.START - 1  # one more would begin a pause
    async with SmtpPeer({"MAIL": [less] * refusals, "DOT": [Wait(reached, go)]}) as peer:
        office = Office(peer.address)
        async with working(office):
            for _ in range(refusals):
                await office.put()
            await office.until(Deferred, times=refusals)
            for _ in range(5):
                await office.put()
            await reached.wait()
            assert len(peer.lines("MAIL")) == refusals + 1
            go.set()
            await peer.until(messages=5)


async def test_greylisting_server_keeps_its_connections() -> None:
    refusals, tasks = connection_limit.START, 10
    go = asyncio.Event()
    hold = Wait(asyncio.Event(), go)
    acts: Script = {"MAIL": ["450 4.7.1 greylisted"] * refusals, "DOT": hold}
    async with SmtpPeer(acts) as peer:
        office = Office(peer.address, settings=replace(PATIENT, verdict=600))
        for _ in range(refusals):
            assert isinstance(await office.send(), Defer)
        async with working(office, tasks=tasks):
            for _ in range(tasks):
                await office.put()
            await peer.until(contents=tasks)
            go.set()
            await peer.until(messages=tasks)


async def test_mail_waits_for_a_busy_server() -> None:
    reached, go = asyncio.Event(), asyncio.Event()
    async with SmtpPeer({"MAIL": [Wait(reached, go)]}) as peer:
        office = Office(peer.address, most=1)
        first = asyncio.create_task(office.send())
        await reached.wait()
        second = asyncio.create_task(office.send())
        await asyncio.sleep(0)
        go.set()
        assert isinstance(await first, Done)
        assert isinstance(await second, Done)
        assert peer.connections == 1


async def test_mail_waits_no_longer_for_a_server_that_finishes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_queue, "STALLED", 0.2)
    reached, go = asyncio.Event(), asyncio.Event()
    async with SmtpPeer({"MAIL": [Wait(reached, go)]}) as peer:
        office = Office(peer.address, most=1)
        first = asyncio.create_task(office.send())
        await reached.wait()
        for _ in range(3):
            settlement = await office.send()
            assert isinstance(settlement, Defer)
            assert "4.4.5" in str(settlement.attempt.trouble)
        assert len(office.events(SmarthostTrouble)) == 1
        assert office.events(SmarthostBack) == []
        go.set()
        assert isinstance(await first, Done)
        assert len(office.events(SmarthostBack)) == 1
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()


async def test_session_that_the_server_closed_meanwhile_is_not_used() -> None:
    closing = Say(b"250 taken\r\n", then_close=True)
    async with SmtpPeer({"DOT": [closing]}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)
        await peer.until(closed=True)
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()
    assert office.events(SmarthostTrouble) == []


async def test_idle_session_is_ended_politely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_sessions, "IDLE", 0.05)
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)
        await peer.until(closed=True)
        assert peer.lines("QUIT") == ["QUIT"]


async def test_session_ends_after_its_share_of_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_sessions, "MOST_MESSAGES", 2)
    async with SmtpPeer() as peer:
        office = Office(peer.address)
        for _ in range(4):
            assert isinstance(await office.send(), Done)
        assert peer.connections == 2
        await office.forwarding.close()


async def test_unanswered_quit_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_sessions, "PARTING", 0.1)
    async with SmtpPeer({"QUIT": Hang()}) as peer:
        office = Office(peer.address)
        assert isinstance(await office.send(), Done)
        async with asyncio.timeout(60):
            await office.forwarding.close()


async def test_slow_server_is_waited_for_as_long_as_it_takes_something() -> None:
    # Longer than the limit in all, but never without progress for so long.
    settings = SessionSettings(reply=1.5, verdict=20, domain="us.test")
    async with SmtpPeer({"CONTENT": Read(1_000_000, 0.2)}) as peer:
        office = Office(peer.address, settings)
        message = await office.put(content=b"x" * 20_000_000)
        assert isinstance(await office.forward(message), Done)
        await office.forwarding.close()
        assert len(peer.messages[0].content) > 20_000_000


@pytest.mark.linux
async def test_verdict_is_waited_for_while_the_server_still_takes_the_content() -> None:
    # All of it is with the kernel at once; the server needs longer than the limit to take it.
    settings = SessionSettings(reply=10, verdict=1.5, domain="us.test")
    async with SmtpPeer({"CONTENT": Read(32768, 0.06)}, buffer=32768) as peer:
        office = Office(peer.address, settings)
        message = await office.put(content=b"x" * 1_000_000)
        assert isinstance(await office.forward(message), Done)
        await office.forwarding.close()


async def test_unanswered_dot_ends_after_its_limit_and_not_after_twice_that() -> None:
    dot = SessionSettings(verdict=1.2, domain="us.test")
    other = SessionSettings(reply=2.0, domain="us.test")
    ended: list[str] = []

    async def wait(office: Office, name: str) -> None:
        await office.send()
        ended.append(name)

    async with SmtpPeer({"RCPT": Hang()}) as at_rcpt, SmtpPeer({"DOT": Hang()}) as at_dot:
        longer, shorter = Office(at_rcpt.address, other), Office(at_dot.address, dot)
        async with asyncio.TaskGroup() as waits:
            waits.create_task(wait(shorter, "dot"))
            await at_dot.until(contents=1)
            waits.create_task(wait(longer, "rcpt"))
        await longer.forwarding.close()
        await shorter.forwarding.close()
    assert ended == ["dot", "rcpt"]


async def test_server_that_greets_late_gets_its_mail_by_more_patience() -> None:
    settings = SessionSettings(greeting=GreetingTimeout(0.2, 300), domain="us.test")
    reached, go = asyncio.Event(), asyncio.Event()
    greeting: list[Act] = [Hang(), Wait(reached, go, b"220 at last\r\n"), "220 peer.test"]
    async with SmtpPeer({"greeting": greeting}) as peer:
        office = Office(peer.address, settings)
        assert isinstance(await office.send(), Defer)
        assert settings.greeting.of(peer.address) == 0.4
        await reached.wait()
        go.set()
        await office.until(SmarthostBack)
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()
