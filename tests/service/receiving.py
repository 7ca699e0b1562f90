"""A real receiver in the test's own loop, on a free port, with a store that the test can read."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from emailrelay.config import ReceiverSettings
from emailrelay.envelope import Envelope
from emailrelay.events.event import Event
from emailrelay.listening import Listeners
from emailrelay.stage import Stage
from emailrelay.store.memory.store import MemoryStore
from emailrelay_receiver.context import ReceiverContext, make_context
from emailrelay_receiver.receiver import Receiver

HANG = 20.0


class Peer:
    """A client that sends exactly the octets of the test."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def reply(self) -> str:
        """Give a whole reply; "" when the connection was closed instead."""
        lines: list[str] = []
        async with asyncio.timeout(HANG):
            while not lines or lines[-1][3:4] == "-":
                try:
                    line = await self.reader.readline()
                except ConnectionError:
                    line = b""
                if not line:
                    return ""
                assert line.endswith(b"\r\n")
                lines.append(line[:-2].decode())
        return "\n".join(lines)

    async def ask(self, command: str) -> str:
        self.send(command.encode() + b"\r\n")
        return await self.reply()

    async def to_data(self) -> None:
        """Send commands up to the 354."""
        commands = ("EHLO c", "MAIL FROM:<s@x>", "RCPT TO:<r@y>", "DATA")
        replies = [await self.reply(), *[await self.ask(command) for command in commands]]
        assert [reply[:3] for reply in replies] == ["220", "250", "250", "250", "354"]

    async def closed(self) -> bool:
        """Wait for the end of the connection, with or without further octets."""
        async with asyncio.timeout(HANG):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65536):
                    pass
        return True

    def reset(self) -> None:
        """Reset the connection."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


@dataclass
class Running:
    """A receiver that runs."""

    port: int
    context: ReceiverContext
    store: MemoryStore
    receiver: Receiver
    events: list[Event] = field(default_factory=list[Event])

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Peer]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Peer(reader, writer)
        finally:
            writer.transport.abort()

    def follow(self, settings: ReceiverSettings) -> None:
        """Do the same as a reload with these settings."""
        context = make_context(settings, self.store, report=self.events.append, clock=time.time)
        self.receiver.follow(context)
        self.context = context

    def mail(self) -> list[tuple[Stage, Envelope, bytes]]:
        return [(kept.stage, kept.envelope, kept.content) for kept in self.store.mail.kept.values()]

    async def until(self, kind: type[Event], count: int = 1) -> Event:
        """Wait until this many events of a kind were reported."""
        async with asyncio.timeout(HANG):
            while True:
                found = [event for event in self.events if isinstance(event, kind)]
                if len(found) >= count:
                    return found[-1]
                await asyncio.sleep(0.01)

    async def empty(self) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(HANG):
            while self.context.admission.total:  # noqa: ASYNC110 - the product has no use for such an event
                await asyncio.sleep(0.01)


@asynccontextmanager
async def receiving(
    settings: ReceiverSettings | None = None,
    store: type[MemoryStore] = MemoryStore,
    place: str = "127.0.0.1",
) -> AsyncGenerator[Running]:
    settings = settings or ReceiverSettings(domain="relay.test")
    events: list[Event] = []
    listeners = Listeners()
    listeners.open([place], 0)
    try:
        async with store(report=events.append) as opened:
            context = make_context(settings, opened, report=events.append, clock=time.time)
            receiver = Receiver(context, listeners.sockets)
            async with receiver:
                opened_at = listeners.sockets[0]
                port = 0 if place.startswith("/") else opened_at.getsockname()[1]
                yield Running(port, context, opened, receiver, events)
    finally:
        listeners.close()


def settings(**values: object) -> ReceiverSettings:
    return ReceiverSettings.model_validate({"domain": "relay.test", **values})


async def send_mail(peer: Peer, content: bytes = b"Subject: x\r\n\r\ntext\r\n") -> str:
    await peer.to_data()
    peer.send(content + b".\r\n")
    return await peer.reply()
