"""A server with several addresses: silent addresses delay no mail (RFC 8305)."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes.deaf_address import DeafAddress
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarding import Office

from emailrelay.events.servers import SmarthostTrouble
from emailrelay.settlement import Defer, Done
from emailrelay_forwarder.session.happy_eyeballs import MEMORY, Silent, first_to_answer, interleaved
from emailrelay_forwarder.session.opening import connect
from emailrelay_forwarder.session.resolve import SocketAddress
from emailrelay_forwarder.session.session_error import SessionError, unreachable
from emailrelay_forwarder.session.session_settings import SessionSettings
from emailrelay_forwarder.session.wire import Wire

ENDLESS = SessionSettings(connect=3600, domain="us.test")
"""No test may wait for a time-out; that for the greeting is 20 s."""
HANG = 15.0


@contextmanager
def known_as(name: str, *places: tuple[str, int]) -> Generator[None]:
    """Let a name have these addresses, in this order."""
    real = socket.getaddrinfo

    def lookup(host: str, *args: object, **kwargs: object) -> object:
        if host != name:
            return real(host, *args, **kwargs)  # type: ignore[arg-type] # as they came
        if kwargs["flags"]:
            raise socket.gaierror(socket.EAI_NONAME, "not numeric")
        return [
            (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", place)
            for place in places
            for host in [place[0]]
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lookup)
        yield


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def office() -> Office:
    return Office("both.test:25", ENDLESS)


@pytest.mark.parametrize("deaf", ["::1", "127.0.0.1"])
async def test_mail_goes_over_the_address_that_answers_while_another_swallows_packets(
    deaf: str,
) -> None:
    try:
        swallowing = DeafAddress(deaf).__enter__()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with SmtpPeer() as peer, asyncio.timeout(HANG):
        with known_as("both.test", (deaf, swallowing.port), ("127.0.0.1", peer.port)):
            relay = office()
            assert isinstance(await relay.send(), Done)
            await relay.forwarding.close()
    swallowing.__exit__(None, None, None)
    assert peer.contents == 1
    assert relay.events(SmarthostTrouble) == []


async def test_address_that_did_not_answer_is_tried_last_for_a_while() -> None:
    with DeafAddress() as deaf:
        async with SmtpPeer() as peer, asyncio.timeout(HANG):
            with known_as("both.test", ("127.0.0.1", deaf.port), ("127.0.0.1", peer.port)):
                relay = office()
                assert isinstance(await relay.send(), Done)
                await relay.forwarding.close()
                deaf.hear()
                assert isinstance(await relay.send(), Done)
                await relay.forwarding.close()
        assert (peer.connections, peer.contents) == (2, 2)
        assert deaf.accepted() == 0


async def test_address_that_answers_first_is_the_only_one_that_is_asked() -> None:
    async with SmtpPeer() as first, SmtpPeer() as second:
        with known_as("both.test", ("127.0.0.1", first.port), ("127.0.0.1", second.port)):
            relay = office()
            for _ in range(3):
                assert isinstance(await relay.send(), Done)
                await relay.forwarding.close()
    assert (first.connections, second.connections) == (3, 0)


async def test_session_trouble_at_one_address_leads_to_one_that_has_not_answered_yet() -> None:
    with DeafAddress() as deaf:
        async with SmtpPeer({"greeting": "554 no"}) as rude, SmtpPeer() as good:
            places = [("127.0.0.1", port) for port in (deaf.port, rude.port, good.port)]
            with known_as("both.test", *places):
                relay = office()
                async with asyncio.timeout(HANG):
                    assert isinstance(await relay.send(), Done)
                await relay.forwarding.close()
    assert (rude.connections, good.contents) == (1, 1)


async def test_trouble_names_every_address_that_could_not_be_reached() -> None:
    with socket.socket() as one, socket.socket() as two:
        for unused in (one, two):
            unused.bind(("127.0.0.1", 0))
        ports = [unused.getsockname()[1] for unused in (one, two)]
        with known_as("both.test", *(("127.0.0.1", port) for port in ports)):
            relay = office()
            assert isinstance(await relay.send(), Defer)
            await relay.forwarding.close()
    told = relay.events(SmarthostTrouble)[0].reason
    assert all(f"127.0.0.1:{port}" in told for port in ports)


async def test_order_of_the_tries_does_not_change_the_words_of_the_trouble() -> None:
    one, two = (SocketAddress(socket.AF_INET, (f"192.0.2.{n}", 25)) for n in (1, 2))

    async def refuse(address: SocketAddress) -> Wire:
        raise unreachable(f"no connection to {address}: connection refused")

    told = set[str]()
    for order in ([one, two], [two, one]):
        with pytest.raises(SessionError) as trouble:
            await first_to_answer(order, refuse, Silent())
        told.add(str(trouble.value))
    assert len(told) == 1


async def test_cancelled_while_connecting_no_socket_stays_open() -> None:
    with DeafAddress() as one, DeafAddress() as two:
        addresses = [SocketAddress(socket.AF_INET, ("127.0.0.1", deaf.port)) for deaf in (one, two)]
        before = open_files()
        both = asyncio.Semaphore(0)

        async def connecting(address: SocketAddress) -> Wire:
            both.release()
            return await connect(address, ENDLESS)

        racing = asyncio.create_task(first_to_answer(addresses, connecting, Silent()))
        for _ in addresses:
            await both.acquire()
        racing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await racing
        async with asyncio.timeout(HANG):
            while len(asyncio.all_tasks()) > 1:
                await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        assert open_files() == before


def test_families_take_turns_and_the_silent_come_last_for_ten_minutes() -> None:
    six = [SocketAddress(socket.AF_INET6, (f"2001:db8::{n}", 25, 0, 0)) for n in (1, 2, 3)]
    four = [SocketAddress(socket.AF_INET, (f"192.0.2.{n}", 25)) for n in (1, 2)]
    order = interleaved([*six, *four])
    assert order == [six[0], four[0], six[1], four[1], six[2]]
    silent = Silent()
    silent.note(six[0], now=1000.0)
    assert silent.last(order, now=1000.0 + MEMORY - 1) == [*order[1:], six[0]]
    assert silent.last(order, now=1000.0 + MEMORY + 1) == order
    silent.note(six[0], now=2000.0)
    silent.answered(six[0])
    assert silent.last(order, now=2001.0) == order


def test_memory_of_silent_addresses_is_bounded() -> None:
    silent, address = Silent(), SocketAddress(socket.AF_INET, ("192.0.2.1", 25))
    silent.note(address, now=0.0)
    for port in range(1000):
        silent.note(SocketAddress(socket.AF_INET, ("192.0.2.2", port)), now=1.0)
    other = SocketAddress(socket.AF_INET, ("192.0.2.3", 25))
    assert silent.last([address, other], now=2.0) == [address, other]
