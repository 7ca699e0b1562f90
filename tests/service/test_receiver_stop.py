"""The end of the service: it drops what is unfinished and waits for commits."""

import asyncio

import pytest
from tests.service.receiving import HANG, Peer, receiving
from tests.service.slow_store import Slow, slow


async def test_a_client_that_does_not_read_does_not_hold_up_the_end_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emailrelay_receiver.receiver._FINISH", 0.2)
    async with receiving() as running:
        # A reference to the reader must stay: a stream without one discards its input.
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        # More than all the buffers of the kernel on the way hold.
        writer.write(b"HELP\r\n" * 5_000_000)
        async with asyncio.timeout(HANG):
            # Until all buffers are full and nothing moves any more.
            before = -1
            while before != (before := writer.transport.get_write_buffer_size()):  # noqa: ASYNC110
                await asyncio.sleep(0.7)
        assert before > 0
    await running.empty()
    Peer(reader, writer).writer.transport.abort()


async def test_the_end_of_the_service_is_told_to_idle_clients() -> None:
    async with receiving() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await peer.reply()
    assert (await peer.reply()).startswith("421 4.3.2 ")
    assert await peer.closed()
    writer.close()


async def test_the_end_of_the_service_waits_for_a_commit() -> None:
    async with receiving(store=Slow) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await peer.to_data()
        peer.send(b"text\r\n.\r\n")
        await slow(running).begun.wait()
        asyncio.get_running_loop().call_later(0.2, slow(running).go.set)
    assert len(running.mail()) == 1
    assert (await peer.reply()).startswith("250 ")
    assert (await peer.reply()).startswith("421 4.3.2 ")
    writer.close()


async def test_content_that_does_not_end_is_dropped_at_the_end_of_the_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emailrelay_receiver.receiver._FINISH", 0.2)
    async with receiving() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        peer = Peer(reader, writer)
        await peer.to_data()
        peer.send(b"text\r\n")
    assert running.mail() == []
    assert await peer.closed()
    writer.close()
