"""Content that arrives while the store takes no more stays in order, whatever has arrived by then.

The clients use a unix socket: what they send is all in the receiver's socket at once.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from tests.fakes.certificates import make_certificates
from tests.service.receiving import HANG, Peer, receiving
from tests.service.receiving_tls import client_context, encrypted, settings

from emailrelay.envelope import Envelope
from emailrelay.queue_id import QueueId
from emailrelay.store.base import CHUNK
from emailrelay.store.draft import Draft
from emailrelay.store.memory.store import MemoryStore
from emailrelay_receiver.connection.client_input import LIMIT, ClientInput
from emailrelay_receiver.connection.wire import ClientWire

KIB = 1024
LOOP_FACTORIES = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""Whose transports pause and resume in ways of their own."""


class Drains(MemoryStore):
    """A store that takes no more after each ``room`` octets, until the test lets it go on."""

    room = 512 * KIB

    def __init__(self, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type] # handed on as they came
        self.drained = 0
        self.begun = asyncio.Event()
        self.go = asyncio.Event()

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        draft = super().draft(envelope, message)
        write, written = draft.write, 0

        def fill(chunk: bytes | bytearray | memoryview) -> bool:
            nonlocal written
            assert written < self.room
            write(chunk)
            written += len(chunk)
            return written < self.room

        async def drain() -> None:
            nonlocal written
            self.begun.set()
            await self.go.wait()
            self.drained += 1
            written = 0

        setattr(draft, "write", fill)  # noqa: B010 - a method, as seen by the type checkers
        setattr(draft, "drain", drain)  # noqa: B010
        return draft


class DrainsOften(Drains):
    """A store that takes one piece after another."""

    room = 1


@pytest.fixture(name="wires")
def keep_wires(monkeypatch: pytest.MonkeyPatch) -> list[ClientWire]:
    """Keep the connections that are made."""
    wires: list[ClientWire] = []
    made = ClientWire.connection_made

    def noted(self: ClientWire, transport: asyncio.BaseTransport) -> None:
        wires.append(self)
        made(self, transport)

    monkeypatch.setattr(ClientWire, "connection_made", noted)
    return wires


def early(taken: ClientInput) -> int:
    """Give the number of octets that wait there."""
    buffer: bytearray = getattr(taken, "_buffer")  # noqa: B009 - of its inside nothing is told
    return len(buffer)


async def until_early(wire: ClientWire, octets: int) -> None:
    async with asyncio.timeout(3 * HANG):
        while early(wire.input) < octets:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)


def numbered(octets: int) -> bytes:
    """Give a content of which no two lines are alike, some with a dot in front."""
    rows = (b"%s%08d %s\r\n" % (b"." * (n % 3), n, b"x" * 68) for n in range(octets // 80))
    return b"Subject: x\r\n\r\n" + b"".join(rows)


def as_data(content: bytes) -> bytes:
    return b"DATA\r\n" + content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def as_chunks(content: bytes) -> bytes:
    first, rest = content[: 1000 * KIB], content[1000 * KIB :]
    return b"BDAT %d\r\n%bBDAT %d LAST\r\n%b" % (len(first), first, len(rest), rest)


@asynccontextmanager
async def sender(path: str) -> AsyncGenerator[tuple[Peer, socket.socket]]:
    """Connect; give the peer, and its socket for octets that are sent without its buffer."""
    reader, writer = await asyncio.open_unix_connection(path)
    peer = Peer(reader, writer)
    direct: socket.socket = writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(direct.fileno())) as own:
        own.settimeout(0)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400 * KIB)
        try:
            yield peer, own
        finally:
            writer.transport.abort()


async def send(own: socket.socket, octets: bytes) -> None:
    """Send all octets; the loop of the test serves the receiver as well."""
    while octets:
        try:
            octets = octets[own.send(octets) :]
        except BlockingIOError:
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("sent_as", [as_data, as_chunks])
@pytest.mark.parametrize("store", [Drains, DrainsOften])
async def test_more_than_a_chunk_may_arrive_while_the_store_drains(
    sent_as: Callable[[bytes], bytes], store: type[Drains], sockets: Path, wires: list[ClientWire]
) -> None:
    content, place = numbered(3000 * KIB), f"{sockets}/s"
    octets = sent_as(content) + b"NOOP\r\nQUIT\r\n"
    async with receiving(store=store, place=place) as running, sender(place) as (peer, own):
        kept = running.store
        assert isinstance(kept, Drains)
        for command in ("EHLO c", "MAIL FROM:<s@x>", "RCPT TO:<r@y>"):
            await peer.reply()
            peer.send(command.encode() + b"\r\n")
        await peer.reply()
        (wire,) = wires
        at = 0
        while not kept.begun.is_set():
            await send(own, octets[at : at + 32 * KIB])
            at += 32 * KIB
            await asyncio.sleep(0.01)
        # Not enough that the receiver stops reading; then all that a read can take.
        most = 2 * LIMIT - early(wire.input)
        await send(own, octets[at : at + most])
        await until_early(wire, 2 * LIMIT)
        at += most
        at += own.send(octets[at : at + CHUNK])
        await until_early(wire, CHUNK + 1)
        kept.go.set()
        rest = asyncio.create_task(send(own, octets[at:]))
        replies = [(await peer.reply())[:3] for _ in range(4)]
        await rest
        assert replies == [("354" if sent_as is as_data else "250"), "250", "250", "221"]
        assert kept.drained > 2
        ((_, _, stored),) = running.mail()
    whole = stored.endswith(b"\r\n" + content)
    assert whole, "octets are missing, or not in order"


async def test_encrypted_content_that_waited_stays_in_order(
    tmp_path: Path, wires: list[ClientWire], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So what arrives before the receiver stops reading is several pieces.
    monkeypatch.setattr("emailrelay_receiver.content.transfer.CHUNK", 32 * KIB)
    files, content = make_certificates(tmp_path), numbered(3000 * KIB)
    async with (
        receiving(settings(files, server_tls=True), store=Drains) as running,
        encrypted(running, client_context(files)) as peer,
    ):
        kept = running.store
        assert isinstance(kept, Drains)
        for command in ("EHLO c", "MAIL FROM:<s@x>", "RCPT TO:<r@y>"):
            assert (await peer.ask(command)).startswith("250")
        peer.send(as_data(content) + b"NOOP\r\nQUIT\r\n")
        (wire,) = wires
        await until_early(wire, 2 * LIMIT + 1)
        kept.go.set()
        assert [(await peer.reply())[:3] for _ in range(4)] == ["354", "250", "250", "221"]
        ((_, _, stored),) = running.mail()
    whole = stored.endswith(b"\r\n" + content)
    assert whole, "octets are missing, or not in order"


async def test_pipelined_content_may_wait_behind_a_question(
    sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client need not wait for 354 if it does not care: all of it arrives with the commands."""
    monkeypatch.setattr("emailrelay_receiver.content.transfer.CHUNK", 32 * KIB)
    content, place = numbered(1000 * KIB), f"{sockets}/s"
    octets = b"EHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<r@y>\r\n" + as_data(content) + b"QUIT\r\n"
    async with receiving(place=place) as running, sender(place) as (peer, own):
        rest = asyncio.create_task(send(own, octets))
        replies = [(await peer.reply())[:3] for _ in range(7)]
        await rest
        assert replies == ["220", "250", "250", "250", "354", "250", "221"]
        ((_, _, stored),) = running.mail()
    whole = stored.endswith(b"\r\n" + content)
    assert whole, "octets are missing, or not in order"
