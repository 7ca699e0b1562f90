"""Servers that only envelopes name, and that are silent, do not hold up other mail."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from tests.fakes.smtp_peer import Hang, Say, SmtpPeer, Wait
from tests.service.forwarding import Office
from tests.service.test_forwarder_smarthost import working

from emailrelay.events.servers import SmarthostTrouble
from emailrelay.settlement import Defer
from emailrelay_forwarder.server import named_servers
from emailrelay_forwarder.session.greeting_timeout import GreetingTimeout
from emailrelay_forwarder.session.session_settings import SessionSettings

ENDLESS = SessionSettings(connect=3600, greeting=GreetingTimeout(3600, 3600), domain="us.test")
GREETING = b"220 peer.test ESMTP\r\n"
NOT_NOW = Say(b"421 4.3.2 not now\r\n", then_close=True)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(named_servers, "PATIENCE", 0.05)


async def test_silent_servers_leave_tasks_for_the_mail_of_others() -> None:
    async with AsyncExitStack() as stack:
        silent = [
            await stack.enter_async_context(SmtpPeer({"greeting": Hang()})) for _ in range(12)
        ]
        well = await stack.enter_async_context(SmtpPeer())
        office = Office(well.address, ENDLESS, places=2)
        async with working(office, tasks=4):
            for n in range(0, 12, 3):
                three = ",".join(peer.address for peer in silent[n : n + 3])
                await office.put(forward_to_address=three)
            await office.until(SmarthostTrouble, times=2)
            await office.put()
            await well.until(messages=1)
    assert sum(peer.connections for peer in silent) == 2


async def test_mail_without_a_place_is_due_when_its_server_answers() -> None:
    late = Wait(asyncio.Event(), asyncio.Event(), GREETING)
    async with SmtpPeer({"greeting": [late, "220 peer.test"]}) as peer:
        office = Office("127.0.0.1:1", ENDLESS, places=1)
        async with working(office, tasks=3):
            for _ in range(4):
                await office.put(forward_to_address=peer.address)
            await late.reached.wait()
            await office.until(SmarthostTrouble)
            late.go.set()
            await peer.until(messages=4)


async def test_probes_of_such_servers_wait_for_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(named_servers, "PROBES", 1)
    late = [Wait(asyncio.Event(), asyncio.Event(), GREETING) for _ in range(2)]
    async with (
        SmtpPeer({"greeting": [NOT_NOW, late[0]]}) as one,
        SmtpPeer({"greeting": [NOT_NOW, late[1]]}) as two,
        SmtpPeer() as well,
    ):
        office = Office(well.address, ENDLESS)
        for peer in (one, two):
            message = await office.put(forward_to_address=peer.address)
            assert isinstance(await office.forward(message), Defer)
        office.forwarding.try_now()
        reached = {asyncio.create_task(wait.reached.wait()): wait for wait in late}
        async with asyncio.timeout(60):
            done, rest = await asyncio.wait(reached, return_when=asyncio.FIRST_COMPLETED)
            for _ in range(10):
                await office.send()
            assert one.connections + two.connections == 3
            reached[done.pop()].go.set()
            await rest.pop()
        await office.forwarding.close()
