"""The connection to a server that speaks without being asked."""

import asyncio

import pytest

from emailrelay_forwarder.session.reply_reader import LONGEST_REPLY, MOST_WAITING
from emailrelay_forwarder.session.session_error import SessionError, SessionStep
from emailrelay_forwarder.session.wire import Wire

HANG = 20.0
GREETING = b"220 peer.test ESMTP\r\n"
NOISE = b"250 more\r\n"


async def connection(said: bytes) -> tuple[Wire, asyncio.Event]:
    """Return a connection to a server that says this, and the event of the connection's end."""
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.close()
        writer.write(said)
        try:
            await reader.read()
        except ConnectionError:
            pass
        finally:
            writer.close()
            ended.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    _, wire = await asyncio.get_running_loop().create_connection(Wire, host, port)
    return wire, ended


async def test_server_that_goes_on_without_being_asked_is_cut_off() -> None:
    async with asyncio.timeout(HANG):
        wire, ended = await connection(GREETING + NOISE * MOST_WAITING)
        await ended.wait()
    assert not wire.quiet
    with pytest.raises(SessionError):
        await wire.command(SessionStep.MAIL, b"MAIL FROM:<a@x.test>", HANG)


async def test_replies_that_arrive_together_are_all_read() -> None:
    count = 2 * LONGEST_REPLY // len(NOISE)
    async with asyncio.timeout(HANG):
        wire, ended = await connection(NOISE * count)
        for _ in range(count):
            assert str(await wire.reply(SessionStep.RCPT, HANG)) == "250 more"
        assert wire.quiet
        wire.abort()
        await ended.wait()
