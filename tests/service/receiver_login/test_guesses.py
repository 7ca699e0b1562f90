"""Guesses at passwords: their pauses, and their cost."""

import asyncio
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.service.receiver_login.users import PASSWORD, greeted, plain, settings, write
from tests.service.receiving import HANG, Peer, Running, receiving

from emailrelay.events.receiving import LoginFailed
from emailrelay_receiver.connection.wire import ClientWire


async def test_too_many_failures_end_the_session_and_are_told(secrets: Path) -> None:
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.01
        await greeted(peer)
        for _ in range(3):
            assert (await peer.ask("AUTH PLAIN " + plain("al\x1bice", "x"))).startswith("535")
        assert (await peer.ask("AUTH PLAIN " + plain("alice", "x"))).startswith("421 4.7.0")
        assert await peer.closed()
        assert isinstance(await running.until(LoginFailed, 4), LoginFailed)


async def test_guesses_keep_out_neither_a_cheap_password_nor_each_other_for_long(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running, AsyncExitStack() as stack:
        running.context.login_pause = 1000.0
        peers = [await stack.enter_async_context(running.client()) for _ in range(50)]
        for peer in peers:
            await greeted(peer)
        async with running.client() as good:
            await greeted(good)
            for number, peer in enumerate(peers):
                peer.send(b"AUTH PLAIN " + plain("nobody", str(number)).encode() + b"\r\n")
            replies = [await peer.reply() for peer in peers[5:]]
            assert (await good.ask("AUTH PLAIN " + plain("alice", PASSWORD))).startswith("235")
        assert {reply[:9] for reply in replies} == {"454 4.7.0"}


async def test_who_has_logged_in_from_an_address_is_not_kept_out_by_guesses_from_there(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running, AsyncExitStack() as stack:
        running.context.login_pause = 1000.0
        said = "AUTH PLAIN " + plain("bob", PASSWORD)
        async with running.client() as peer:
            await greeted(peer)
            assert (await peer.ask(said)).startswith("235")
        for number in range(10):
            guesser = await stack.enter_async_context(running.client())
            await greeted(guesser)
            guesser.send(b"AUTH PLAIN " + plain(f"name{number}", "x").encode() + b"\r\n")
        await running.until(LoginFailed, 10)
        async with running.client() as peer:
            await greeted(peer)
            assert (await peer.ask("AUTH PLAIN " + plain("carol", PASSWORD))).startswith("454")
        async with running.client() as peer:
            await greeted(peer)
            assert (await peer.ask(said)).startswith("235")


async def test_many_sessions_that_show_the_same_password_are_checked_once(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashes(monkeypatch)

    async def come(running: Running) -> str:
        async with running.client() as peer:
            await greeted(peer)
            return (await peer.ask("AUTH PLAIN " + plain("bob", PASSWORD)))[:3]

    async with receiving(settings(secrets)) as running:
        replies = await asyncio.gather(*(come(running) for _ in range(20)))
    assert set(replies) == {"235"}
    assert len(hashed) <= 2


def count_hashes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    hashed: list[str] = []
    scrypt = hashlib.scrypt

    def counted(*given: bytes, **costs: Any) -> bytes:
        hashed.append(given[0].decode())
        return scrypt(*given, **costs)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    return hashed


@pytest.mark.parametrize("user", ["alice", "bob", "carol", "nobody"])
async def test_a_wrong_password_costs_one_hash_for_any_name(
    secrets: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = count_hashes(monkeypatch)
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        assert (await peer.ask("AUTH PLAIN " + plain(user, "wrong"))).startswith("535")
    assert hashed == ["wrong"]


async def test_a_file_without_hashes_needs_none_for_a_name_it_does_not_know(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(secrets, "server plain alice open+20sesame\n")
    hashed = count_hashes(monkeypatch)
    async with receiving(settings(secrets)) as running, running.client() as peer:
        running.context.login_pause = 0.0
        await greeted(peer)
        for user in ("alice", "nobody"):
            assert (await peer.ask("AUTH PLAIN " + plain(user, "wrong"))).startswith("535")
    assert not hashed


async def test_failures_count_over_the_sessions_of_an_address_and_over_reloads(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running:
        for _ in range(3):
            running.context.login_pause = 0.0
            async with running.client() as peer:
                await greeted(peer)
                for _ in range(2):
                    said = "AUTH PLAIN " + plain("alice", "wrong")
                    assert (await peer.ask(said)).startswith("535")
            running.follow(settings(secrets))
        assert running.context.attempts.failed("loopback") > 6


async def test_a_client_that_sends_no_more_waits_for_its_reply_like_any_other(
    secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused, pause = list[ClientWire](), ClientWire.pause

    async def noted(wire: ClientWire, seconds: float) -> None:
        paused.append(wire)
        await pause(wire, seconds)

    monkeypatch.setattr(ClientWire, "pause", noted)
    async with receiving(settings(secrets)) as running:
        running.context.login_pause = 1000.0
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await greeted(peer)
        peer.send((b"AUTH PLAIN " + plain("alice", "wrong").encode() + b"\r\n") * 4)
        writer.write_eof()
        await running.until(LoginFailed)
        async with asyncio.timeout(HANG):
            while not paused[0].input.ended:  # noqa: ASYNC110 - the product needs no such event
                await asyncio.sleep(0.01)
        async with running.client() as other:
            await greeted(other)
        assert len(paused) == 1
    # The end of the service has ended the pause; the other guesses were not heard.
    assert (await peer.reply()).startswith("535")
    assert (await peer.reply()).startswith("421 4.3.2")
    assert await peer.closed()
    writer.transport.abort()


async def test_the_end_of_the_service_does_not_wait_for_the_pause_of_a_guesser(
    secrets: Path,
) -> None:
    async with receiving(settings(secrets)) as running:
        running.context.login_pause = 1000.0
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await greeted(peer)
        peer.send(b"AUTH PLAIN " + plain("alice", "wrong").encode() + b"\r\n")
        await running.until(LoginFailed)
    assert (await peer.reply()).startswith("535")
    assert (await peer.reply()).startswith("421 4.3.2")
    writer.transport.abort()
