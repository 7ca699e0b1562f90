"""The limits of a session: commands, lines, recipients, space and time."""

import asyncio
import socket
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.fakes.certificates import make_certificates
from tests.service.receiving import HANG, receiving, send_mail, settings
from tests.service.receiving_tls import client_context, encrypted

from emailrelay.errors import StoreError
from emailrelay.events.receiving import Rejected, SessionTrouble
from emailrelay.store.memory.store import MemoryStore
from emailrelay_receiver.connection.wire import ClientWire


async def test_a_message_that_is_too_big_is_refused_after_its_end() -> None:
    async with receiving(settings(size=1000)) as running, running.client() as peer:
        assert (await send_mail(peer, b"x" * 400_000 + b"\r\n")).startswith("552 5.3.4 ")
        assert (await peer.ask("MAIL FROM:<a@b> SIZE=1001")).startswith("552 5.3.4 ")
        assert (await peer.ask("MAIL FROM:<a@b> SIZE=1000")).startswith("250 ")
        assert running.mail() == []


async def test_recipients_beyond_the_limit_come_again() -> None:
    async with receiving(settings(recipients=2)) as running, running.client() as peer:
        await peer.reply()
        for command in (
            "EHLO c",
            "MAIL FROM:<>",
            "RCPT TO:<a@y>",
            "RCPT TO:<b@y>",
            "RCPT TO:<a@y>",
        ):
            assert (await peer.ask(command)).startswith("250")
        assert (await peer.ask("RCPT TO:<c@y>")).startswith("452 4.5.3 ")
        await peer.ask("DATA")
        assert (await peer.ask("text\r\n.")).startswith("250")
        assert running.mail()[0][1].recipients == ("a@y", "b@y")


async def test_connections_beyond_the_limit_are_turned_away() -> None:
    async with receiving(settings(client_connections=1)) as running, running.client() as first:
        await first.reply()
        async with running.client() as second:
            assert (await second.reply()).startswith("421 4.7.0 ")
            assert await second.closed()
        await first.ask("QUIT")
        await running.empty()
        async with running.client() as third:
            assert (await third.reply()).startswith("220 ")


@pytest.mark.parametrize("after", ["", "NOO", "content"])
async def test_a_silent_client_is_told_and_left(after: str) -> None:
    async with receiving(settings(idle_timeout=4.0)) as running, running.client() as peer:
        if after == "content":
            await peer.to_data()
        else:
            await peer.reply()
            peer.send(after.encode())
        assert (await peer.reply()).startswith("421 4.4.2 ")
        assert await peer.closed()
        assert running.mail() == []


async def test_slow_but_steady_content_is_not_cut() -> None:
    idle = 4.0
    async with receiving(settings(idle_timeout=idle)) as running, running.client() as peer:
        await peer.to_data()
        end = asyncio.get_running_loop().time() + 1.5 * idle
        while asyncio.get_running_loop().time() < end:
            peer.send(b"x")
            await asyncio.sleep(idle / 40)
        assert (await peer.ask("\r\n.")).startswith("250 ")
        assert len(running.mail()) == 1


async def test_a_session_does_not_last_for_ever() -> None:
    async with receiving(settings(session_timeout=0.3)) as running, running.client() as peer:
        await peer.reply()
        async with asyncio.timeout(HANG):
            while (answer := await peer.ask("NOOP")).startswith("250"):
                pass
        assert answer.startswith("421 4.4.2 ")
        assert await peer.closed()


async def test_unknown_commands_are_endured_for_a_while() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        answers = [(await peer.ask("FOO"))[:3] for _ in range(20)]
        assert answers == ["500"] * 19 + ["421"]
        assert await peer.closed()
        rejected = await running.until(Rejected, 20)
        assert isinstance(rejected, Rejected)
        assert rejected.command == "(unknown)"  # it may be a password


async def test_malformed_commands_are_endured_for_a_while() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        await peer.ask("EHLO c")
        await peer.ask("MAIL FROM:<a@b>")
        for _ in range(100):
            assert (await peer.ask("RCPT TO:nobody")).startswith("501")
        assert (await peer.ask("RCPT TO:nobody")).startswith("421 4.7.0")
        assert await peer.closed()


async def test_refused_recipients_do_not_go_on_for_ever() -> None:
    async with receiving(settings(recipients=1)) as running, running.client() as peer:
        await peer.reply()
        for command in ("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<r@y>"):
            assert (await peer.ask(command)).startswith("250")
        peer.send(b"".join(b"RCPT TO:<r%d@y>\r\n" % number for number in range(1001)))
        replies = [await peer.reply() for _ in range(1001)]
        assert {reply[:9] for reply in replies[:-1]} == {"452 4.5.3"}
        assert replies[-1].startswith("421 4.7.0")
        await running.until(Rejected, 1001)  # all are counted; the log has few lines of them


async def test_what_was_pipelined_behind_a_refused_sender_ends_no_session() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        await peer.ask("EHLO c")
        peer.send(b"MAIL FROM:<a@b> SIZE=999999999999\r\n" + b"RCPT TO:<r@y>\r\n" * 1000)
        assert (await peer.reply()).startswith("552")
        assert {(await peer.reply())[:3] for _ in range(1000)} == {"503"}
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")


async def test_a_message_that_was_taken_makes_up_for_errors() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        await peer.ask("EHLO c")
        for _ in range(2):
            for _ in range(60):
                assert (await peer.ask("VRFY")).startswith("501")
            for command in ("MAIL FROM:<a@b>", "RCPT TO:<r@y>", "BDAT 0 LAST"):
                assert (await peer.ask(command)).startswith("250")


@pytest.mark.parametrize("verb", ["DATA", "BDAT"])
async def test_content_is_refused_when_others_have_taken_the_room_meanwhile(verb: str) -> None:
    class Small(MemoryStore):
        room = 10**9

        def free(self) -> int:
            return self.room

    async with (
        receiving(settings(minimum_free=10**6), Small) as running,
        running.client() as peer,
    ):
        await peer.reply()
        for command in ("EHLO c", "MAIL FROM:<a@b>", "RCPT TO:<r@y>"):
            assert (await peer.ask(command)).startswith("250")
        assert isinstance(running.store, Small)
        running.store.room = 0
        content = b"x" * 78 + b"\r\n"
        content *= 4 * 1024 * 1024 // len(content)
        if verb == "DATA":
            assert (await peer.ask("DATA")).startswith("354")
            peer.send(content + b".\r\n")
        else:
            peer.send(b"BDAT %d LAST\r\n" % len(content) + content)
        assert (await peer.reply()).startswith("452 4.3.1")
        assert not running.mail()
        assert (await peer.ask("NOOP")).startswith("250")


@pytest.mark.parametrize("length", [513, 2000, 100_000, 500_000])
async def test_a_long_command_is_refused_and_the_session_goes_on(length: int) -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        assert (await peer.ask("NOOP " + "x" * (512 - 7))).startswith("250 ")
        assert (await peer.ask("NOOP " + "x" * (length - 7))).startswith("500 5.5.2 ")
        assert (await peer.ask("NOOP")).startswith("250 ")


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_long_lines_are_endured_for_a_while(
    in_pieces: bool,  # noqa: FBT001 - a row of the table
) -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        for code in ["500"] * 19 + ["421"]:
            if in_pieces:
                peer.send(b"x" * 70_000)
                await peer.writer.drain()
                assert (await peer.ask(""))[:3] == code
            else:
                # Behind a command, so that the whole line waits in the buffer.
                peer.send(b"NOOP\r\n" + b"x" * 70_000 + b"\r\n")
                assert [(await peer.reply())[:3] for _ in range(2)] == ["250", code]
        assert await peer.closed()


async def test_content_behind_an_overlong_chunk_command_is_never_heard() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        peer.send(b"BDAT 6" + b" " * 70_000 + b"\r\nNOOP\r\n")
        assert (await peer.reply()).startswith("501 5.5.4 ")
        assert await peer.closed()


async def test_an_endless_command_ends_the_session() -> None:
    async with receiving() as running, running.client() as peer:
        await peer.reply()
        peer.send(b"x" * 2_000_000)
        assert (await peer.reply())[:3] in ("421", "")
        assert await peer.closed()


async def test_a_client_that_does_not_read_is_left() -> None:
    async with receiving(settings(idle_timeout=0.3)) as running, running.client() as peer:
        peer.send(b"HELP\r\n" * 1_000_000)
        await running.until(SessionTrouble)
        await running.empty()


@pytest.mark.parametrize("encrypts", [False, True])
async def test_replies_that_a_client_does_not_read_take_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, encrypts: bool
) -> None:
    files = make_certificates(tmp_path)
    given = settings(idle_timeout=1.0, server_tls=True, server_tls_certificate=str(files.server))
    unsent, write = [0], ClientWire.write

    def note(wire: ClientWire, octets: bytes) -> None:
        wire.info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        write(wire, octets)
        unsent.append(wire.unsent)

    monkeypatch.setattr(ClientWire, "write", note)
    async with receiving(given) as running, AsyncExitStack() as stack:
        client = encrypted(running, client_context(files)) if encrypts else running.client()
        peer = await stack.enter_async_context(client)
        sock = peer.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.send(b"HELP\r\n" * 20_000)
        await running.until(SessionTrouble)
        await running.empty()
    assert 0 < max(unsent) < 50_000


async def test_a_message_without_end_is_given_up_once_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("emailrelay_receiver.content.incoming_message.MOST_THROWN_AWAY", 1000)
    async with receiving(settings(size=1000)) as running, running.client() as peer:
        await peer.to_data()
        peer.send(b"x" * 3000)
        assert (await peer.reply()).startswith("552 5.3.4 ")
        assert await peer.closed()


async def test_mail_is_refused_while_the_store_is_away_and_taken_when_it_is_back() -> None:
    class Away(MemoryStore):
        away = True

        def unavailable(self) -> StoreError | None:
            return StoreError("begin a message", "no answer") if self.away else None

    async with receiving(store=Away) as running, running.client() as peer:
        await peer.reply()
        assert (await peer.ask("EHLO c")).startswith("250")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("451 4.3.0 ")
        assert (await peer.ask("RCPT TO:<r@y>")).startswith("503 ")
        assert isinstance(running.store, Away)
        running.store.away = False
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250 ")
