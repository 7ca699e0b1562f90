"""Contents that arrive in parts go from the socket into their draft without the session's task."""

import asyncio
import errno
import random
import smtplib
import socket
from pathlib import Path

import pytest
import uvloop
from tests.fakes.certificates import make_certificates
from tests.service.receiving import HANG, Peer, receiving
from tests.service.receiving_tls import client_context
from tests.service.slow_store import Slow

from emailrelay.config import ReceiverSettings
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.events.receiving import SessionTrouble
from emailrelay.queue_id import QueueId
from emailrelay.store.draft import Draft
from emailrelay.store.memory.store import MemoryStore
from emailrelay_receiver.connection.client_input import ClientInput
from emailrelay_receiver.connection.wire import ClientWire

MIB = 1024 * 1024


LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""Whose transports differ."""


@pytest.fixture(name="poured", autouse=True)
def count_pieces(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the octets of each piece that did not go through the task."""
    pieces: list[int] = []
    received = ClientWire.received

    def noting(self: ClientWire, octets: memoryview) -> None:
        if vars(self)["_take"] is not None:
            pieces.append(len(octets))
        received(self, octets)

    monkeypatch.setattr(ClientWire, "received", noting)
    return pieces


def settings(**values: object) -> ReceiverSettings:
    return ReceiverSettings.model_validate({"domain": "relay.test", **values})


def lines(octets: int = MIB) -> bytes:
    """Give a content of lines of all lengths, some with dots in front."""
    rows = (b"%s%d %s\r\n" % (b"." * (n % 3), n, b"x" * (n % 900)) for n in range(octets // 455))
    return b"Subject: x\r\n\r\n" + b"".join(rows)


def stuffed(content: bytes) -> bytes:
    return content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


async def send_cut(peer: Peer, octets: bytes, chance: random.Random) -> None:
    """Send in pieces that mostly arrive as separate pieces."""
    while octets:
        size = chance.choice((1, 2, 3, 100, 5_000, 70_000, 300_000))
        peer.send(octets[:size])
        await asyncio.sleep(0.001)
        octets = octets[size:]


@pytest.mark.parametrize("seed", range(3))
async def test_content_is_whole_however_it_was_cut(seed: int, poured: list[int]) -> None:
    content = lines()
    async with receiving() as running, running.client() as peer:
        await peer.to_data()
        await send_cut(peer, stuffed(content) + b"NOOP\r\nQU", random.Random(seed))  # noqa: S311
        assert (await peer.reply()).startswith("250 2.0.0 Ok: queued as ")
        assert (await peer.reply()).startswith("250 ")
        peer.send(b"IT\r\n")
        assert (await peer.reply()).startswith("221 ")
        ((_, _, stored),) = running.mail()
    assert stored.endswith(b"\r\n" + content)
    assert sum(poured) > MIB / 2


async def test_chunks_are_whole_and_commands_are_found_between_them(poured: list[int]) -> None:
    content = lines()
    first, second = content[: MIB // 2], content[MIB // 2 :]
    async with receiving() as running, running.client() as peer:
        for command in ("EHLO c", "MAIL FROM:<s@x>", "RCPT TO:<r@y>"):
            await peer.reply()
            peer.send(f"{command}\r\n".encode())
        await peer.reply()
        peer.send(
            b"BDAT %d\r\n%bBDAT %d LAST\r\n%bQUIT\r\n" % (len(first), first, len(second), second)
        )
        replies = [await peer.reply() for _ in range(3)]
        assert [reply[:3] for reply in replies] == ["250", "250", "221"]
        ((_, _, stored),) = running.mail()
    assert stored.endswith(b"\r\n" + content)
    assert sum(poured) > MIB / 2


@pytest.mark.parametrize("at_once", [False, True])
async def test_encrypted_content_is_whole(
    *, at_once: bool, tmp_path: Path, poured: list[int]
) -> None:
    files = make_certificates(tmp_path)
    context, content = client_context(files), lines()

    def talk(port: int) -> None:
        with (
            smtplib.SMTP_SSL("127.0.0.1", port, timeout=HANG, context=context)
            if at_once
            else (smtplib.SMTP("127.0.0.1", port, timeout=HANG)) as client
        ):
            if not at_once:
                client.starttls(context=context)
            for _ in range(2):
                client.sendmail("s@x.test", ["r@y.test"], content)

    encryption = "server_tls_connection" if at_once else "server_tls"
    given = settings(**{"server_tls_certificate": str(files.server), encryption: True})
    async with receiving(given) as running:
        await asyncio.to_thread(talk, running.port)
        stored = [mail[2] for mail in running.mail()]
    assert [each.endswith(b"\r\n" + content) for each in stored] == [True, True]
    assert sum(poured) > MIB


@pytest.mark.parametrize(
    ("content", "reply"),
    [
        (b"x" * 80 + b"\r\n", "552 5.3.4 "),
        (b"late\rstray\r\n", "550 5.6.0 "),
    ],
)
async def test_a_refusal_comes_behind_the_end_and_the_session_goes_on(
    content: bytes, reply: str, poured: list[int]
) -> None:
    whole = lines()
    async with receiving(settings(size=len(whole) + 50)) as running, running.client() as peer:
        await peer.to_data()
        peer.send(stuffed(whole + content) + b"NOOP\r\n")
        assert (await peer.reply()).startswith(reply)
        assert (await peer.reply()).startswith("250 ")
        assert running.mail() == []
    assert sum(poured) > MIB / 2


@pytest.mark.parametrize("way", ["close", "reset", "half"])
async def test_a_client_that_leaves_leaves_nothing(way: str, poured: list[int]) -> None:
    async with receiving() as running, running.client() as peer:
        await peer.to_data()
        peer.send(lines())
        async with asyncio.timeout(HANG):
            while sum(poured) < MIB / 2:  # noqa: ASYNC110 - of the receiver's inside nothing else is told
                await asyncio.sleep(0.01)
        match way:
            case "close":
                peer.writer.close()
            case "reset":
                peer.reset()
            case _:
                peer.writer.write_eof()
        await running.until(SessionTrouble)
        await running.empty()
        assert running.mail() == []


async def test_a_client_that_falls_silent_is_told(poured: list[int]) -> None:
    async with receiving(settings(idle_timeout=3.0)) as running, running.client() as peer:
        await peer.to_data()
        for _ in range(7):  # longer than the time limit for silence, but never silent
            peer.send(lines(MIB // 4))
            await asyncio.sleep(0.5)
        assert (await peer.reply()).startswith("421 4.4.2 ")
        assert await peer.closed()
        await running.empty()
        assert running.mail() == []
    assert sum(poured) > MIB / 2


class FullLater(MemoryStore):
    """A store that is full after some writes."""

    writes = 0

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        draft = super().draft(envelope, message)
        write = draft.write

        def fail_later(chunk: bytes | bytearray | memoryview) -> bool:
            self.writes += 1
            if self.writes == 5:
                raise StoreError("write x", OSError(errno.ENOSPC, "full"))
            return write(chunk)

        setattr(draft, "write", fail_later)  # noqa: B010 - a method, as seen by the type checkers
        return draft


async def test_a_disk_that_fills_up_is_a_temporary_answer() -> None:
    async with receiving(store=FullLater) as running, running.client() as peer:
        await peer.to_data()
        peer.send(stuffed(lines()))
        assert (await peer.reply()).startswith("452 ")
        assert running.mail() == []
        await peer.ask("MAIL FROM:<s@x>")
        await peer.ask("RCPT TO:<r@y>")
        await peer.ask("DATA")
        peer.send(stuffed(lines()))  # there is space again
        assert (await peer.reply()).startswith("250 ")
        ((_, _, stored),) = running.mail()
    assert stored.endswith(b"\r\n" + lines())


class Waits(MemoryStore):
    """A store that must be waited for after each write."""

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        draft = super().draft(envelope, message)
        write, full = draft.write, False

        def fill(chunk: bytes | bytearray | memoryview) -> bool:
            nonlocal full
            assert not full
            write(chunk)
            full = True
            return False

        async def drain() -> None:
            nonlocal full
            await asyncio.sleep(0.001)
            full = False

        setattr(draft, "write", fill)  # noqa: B010 - see above
        setattr(draft, "drain", drain)  # noqa: B010
        return draft


@pytest.mark.parametrize("seed", range(2))
async def test_a_store_may_have_to_be_waited_for(seed: int) -> None:
    content = lines()
    async with receiving(store=Waits) as running, running.client() as peer:
        await peer.to_data()
        await send_cut(peer, stuffed(content), random.Random(seed))  # noqa: S311
        assert (await peer.reply()).startswith("250 ")
        ((_, _, stored),) = running.mail()
    assert stored.endswith(b"\r\n" + content)


async def test_an_error_of_ours_in_the_middle_ends_the_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("emailrelay_receiver.content.incoming_message.IncomingMessage.take", broken)
    async with receiving() as running, running.client() as peer:
        await peer.to_data()
        peer.send(stuffed(lines()))
        assert (await peer.reply()).startswith("451 4.3.0 ")
        assert await peer.closed()
        assert running.mail() == []


async def test_tls_client_that_resets_at_the_begin_of_a_chunk_is_gone(tmp_path: Path) -> None:
    """The transport reports the end to the session in a later turn, in which the chunk begins."""
    files = make_certificates(tmp_path)
    context = client_context(files)

    def talk(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), HANG) as plain:
            client = context.wrap_socket(plain, server_hostname="127.0.0.1")
            client.recv(1000)
            for command in (b"EHLO c", b"MAIL FROM:<s@x>", b"RCPT TO:<r@y>"):
                client.sendall(command + b"\r\n")
                client.recv(10_000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            # So many answers that other sessions get their turn before the chunk.
            client.sendall(b"NOOP\r\n" * 400 + b"BDAT 100000\r\n" + b"x" * 50)
            client.close()

    given = settings(server_tls_certificate=str(files.server), server_tls_connection=True)
    async with receiving(given) as running:
        for _ in range(3):
            await asyncio.to_thread(talk, running.port)
        await running.empty()


async def test_what_follows_a_large_content_waits_in_the_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While the message is committed, no more than the usual waits in memory."""
    octets = 0
    fed = ClientInput.feed

    def feed(self: ClientInput, data: bytes | memoryview) -> None:
        nonlocal octets
        octets += len(data)
        fed(self, data)

    monkeypatch.setattr(ClientInput, "feed", feed)
    async with receiving(store=Slow) as running, running.client() as peer:
        store = running.store
        assert isinstance(store, Slow)
        await peer.to_data()
        peer.send(stuffed(lines(MIB * 9 // 10)) + b"NOOP\r\n" * (8 * MIB // 6))
        async with asyncio.timeout(HANG):
            await store.begun.wait()
        await asyncio.sleep(0.5)
        assert octets < MIB
        store.go.set()
        assert (await peer.reply()).startswith("250 ")
