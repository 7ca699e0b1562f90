"""A single pass of the forwarder over a spool: it tries all mail once and exits."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.fakes.name_server import name_server
from tests.fakes.smtp_peer import SmtpPeer
from tests.service.forwarder_process import forwarder, history, ids, put

from emailrelay import service_status
from emailrelay.process_state import ProcessState
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "spool", report=lambda _event: None) as opened:
        yield opened


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


async def test_single_pass_forwards_everything_in_order_and_exits_0(
    store: Store, spool: Path
) -> None:
    names = [f"r{n}@there.test" for n in range(8)]
    for name in names:
        await put(store, name)
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--once") as running:
        assert await running.end() == 0
        assert [m.recipients[0].decode() for m in peer.messages] == names
        assert peer.connections == 1
    assert await ids(store) == []


async def test_single_pass_over_nothing_exits_0_without_a_connection(spool: Path) -> None:
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--once") as running:
        assert await running.end() == 0
        assert peer.connections == 0


async def test_single_pass_tries_deferred_mail_once_and_exits_1(store: Store, spool: Path) -> None:
    message = await put(store)
    async with SmtpPeer({"RCPT": "451 later"}) as peer:
        for attempts in (1, 2):
            async with forwarder(spool, peer.address, "--once") as running:
                assert await running.end() == 1
            found = await history(store, message)
            assert found is not None
            assert found.attempts == attempts
        assert len(peer.lines("RCPT")) == 2


async def test_single_pass_leaves_held_mail_and_fails_for_unfiltered_mail(
    store: Store, spool: Path
) -> None:
    held = await put(store)
    assert await store.hold(held)
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--once") as running:
        assert await running.end() == 0
    unfiltered = await put(store, stage=Stage.UNFILTERED)
    async with SmtpPeer() as peer, forwarder(spool, peer.address, "--once") as running:
        assert await running.end() == 1
        assert peer.messages == []
    assert "still_unfiltered" in running.names()
    assert set(await ids(store)) == {held, unfiltered}


async def test_single_pass_with_a_dead_server_exits_1_and_keeps_the_mail(
    store: Store, spool: Path
) -> None:
    for _ in range(20):
        await put(store)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        async with forwarder(spool, address, "--once") as running:
            assert await running.end() == 1
    assert len(await ids(store, Stage.READY)) == 20
    troubles = [event for event in running.told if event["event"] == "smarthost_trouble"]
    assert len(troubles) == 1


async def test_client_filter_ends_a_single_pass(store: Store, spool: Path) -> None:
    for _ in range(3):
        await put(store)
    options = ("--once", "--client-filter", "exit:102")
    async with SmtpPeer() as peer, forwarder(spool, peer.address, *options) as running:
        assert await running.end() == 1
        assert len(peer.messages) == 1


async def test_mx_as_a_client_filter_needs_no_smarthost(store: Store, spool: Path) -> None:
    unknown, refused = await put(store), await put(store, "to@null.test")
    records = {("null.test", "MX"): ["0 ."]}
    async with (
        name_server(records) as (_, place),
        forwarder(spool, "", "--once", "--client-filter", f"mx:{place}") as running,
    ):
        assert await running.end() == 1
    failed = {event["id"]: event for event in running.told if event["event"] == "failed"}
    assert "5.1.10 domain accepts no mail" in failed[refused]["reason"]
    assert "5.1.2 no such domain" in failed[unknown]["reason"]


async def test_without_a_smarthost_mail_that_no_filter_routes_waits(
    store: Store, spool: Path
) -> None:
    message = await put(store, "a@one.test", "b@two.test")
    async with (
        name_server({}) as (_, place),
        forwarder(spool, "", "--once", "--client-filter", f"mx:{place}") as running,
    ):
        assert await running.end() == 1
    assert await ids(store) == [message]


async def test_without_a_smarthost_the_status_names_no_trouble(
    store: Store, spool: Path, tmp_path: Path
) -> None:
    options = ("--client-filter", "mx:127.0.0.1:9", "--runtime-dir", str(tmp_path / "run"))
    async with forwarder(spool, "", *options) as running:
        await running.until("started")
        async with asyncio.timeout(60):
            while not (states := _states(tmp_path / "run")):  # noqa: ASYNC110 -- another process
                await asyncio.sleep(0.05)
        assert [(state.doing, state.trouble) for state in states] == [
            ("delivering to the servers that filters name", "")
        ]
        assert await running.stop() == 0
    assert await ids(store) == []


def _states(runtime: Path) -> list[ProcessState]:
    """Return the states of the forwarder's processes that are known by now."""
    try:
        found = service_status.read(runtime, "forwarder").processes
    except FileNotFoundError:
        return []
    return [each.state for each in found if each.state.doing]
