"""An idle session serves a message that waits for the opening of another session."""

import asyncio

from tests.fakes.smtp_peer import Hang, Script, SmtpPeer, Wait
from tests.service.forwarding import Office

from emailrelay.settlement import Done, Settlement
from emailrelay_forwarder.session.session_settings import SessionSettings

ENDLESS = SessionSettings(connect=3600, domain="us.test")
"""No test may wait for a time-out; that for the greeting is 20 s."""
HANG = 15.0
GREETING = b"220 peer.test ESMTP\r\n"


def wait(octets: bytes = b"250 2.1.0 ok\r\n") -> Wait:
    return Wait(asyncio.Event(), asyncio.Event(), octets)


async def test_idle_session_serves_a_message_that_waits_for_an_opening() -> None:
    held = wait()
    script: Script = {"greeting": ["220 peer.test ESMTP", Hang()], "MAIL": [held]}
    async with SmtpPeer(script) as peer, asyncio.timeout(HANG):
        office = Office(peer.address, ENDLESS)
        first = asyncio.create_task(office.send())
        await held.reached.wait()
        others = [asyncio.create_task(office.send())]
        await peer.until(connections=2)
        held.go.set()
        for sending in (first, *others):
            assert isinstance(await sending, Done)
        assert isinstance(await office.send(), Done)
        await office.forwarding.close()
    assert [message.connection for message in peer.messages] == [1, 1, 1]
    assert peer.connections == 2


async def test_opening_without_a_waiting_message_serves_the_next_message() -> None:
    one, two, late = wait(), wait(), wait(GREETING)
    script: Script = {"greeting": ["220 peer.test ESMTP", late], "MAIL": [one, two]}
    async with SmtpPeer(script) as peer, asyncio.timeout(HANG):
        office, second = await _office_while_another_session_opens(peer, one, late)
        await two.reached.wait()  # over the first connection
        third = asyncio.create_task(office.send())
        late.go.set()
        assert isinstance(await third, Done)
        two.go.set()
        assert isinstance(await second, Done)
        await office.forwarding.close()
    assert [message.connection for message in peer.messages] == [1, 2, 1]
    assert peer.connections == 2


async def _office_with_a_late_opening(peer: SmtpPeer, one: Wait, late: Wait) -> Office:
    """Send two messages over one session, while the opening of another ends too late for both."""
    office, second = await _office_while_another_session_opens(peer, one, late)
    assert isinstance(await second, Done)
    late.go.set()
    return office


async def _office_while_another_session_opens(
    peer: SmtpPeer, one: Wait, late: Wait
) -> tuple[Office, "asyncio.Task[Settlement]"]:
    """Send one message, and return the task that sends a second one."""
    office = Office(peer.address, ENDLESS)
    first = asyncio.create_task(office.send())
    await one.reached.wait()
    second = asyncio.create_task(office.send())
    await late.reached.wait()
    one.go.set()
    assert isinstance(await first, Done)
    return office, second


async def test_opening_that_ends_after_its_message_has_gone_is_kept_or_closed() -> None:
    one, late = wait(), wait(GREETING)
    script: Script = {"greeting": ["220 peer.test ESMTP", late], "MAIL": [one]}
    async with SmtpPeer(script) as peer, asyncio.timeout(HANG):
        office = await _office_with_a_late_opening(peer, one, late)
        await office.forwarding.close()
        await peer.until(closed=True)
    assert peer.connections == 2


async def test_refused_further_connection_is_noted_though_its_message_has_gone() -> None:
    one, late = wait(), wait(b"421 4.7.0 too many connections\r\n")
    script: Script = {"greeting": ["220 peer.test ESMTP", late], "MAIL": [one]}
    async with SmtpPeer(script) as peer, asyncio.timeout(HANG):
        office = await _office_with_a_late_opening(peer, one, late)
        await peer.until(left=1)
        for sending in [asyncio.create_task(office.send()) for _ in range(5)]:
            assert isinstance(await sending, Done)
        await office.forwarding.close()
    assert peer.connections == 2
