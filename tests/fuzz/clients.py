"""Clients that send generated octets to a receiver over real sockets, and record the results."""

import asyncio
import contextlib
import logging
import ssl
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum, auto
from random import Random

from tests.fuzz import judgement, octets
from tests.fuzz.judgement import Wrong
from tests.service.receiving import HANG, Peer, Running

from emailrelay.events.service import Traceback


class Way(StrEnum):
    """The way a client sends."""

    POLITE = auto()
    """Closes its side behind its last octet, and listens to the end."""
    RESET = auto()
    ENCRYPTED = auto()


@dataclass
class Heard:
    """The answers to a client."""

    said: bytes
    cut_off: bool
    """The connection was reset: there may have been more."""


@dataclass
class Complaints(logging.Handler):
    """The complaints of asyncio: failed tasks and callbacks that no code awaited."""

    told: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        super().__init__(logging.WARNING)

    __hash__ = logging.Handler.__hash__

    def emit(self, record: logging.LogRecord) -> None:
        """See ``logging.Handler.emit``."""
        self.told.append(self.format(record))


@dataclass
class Fuzz:
    """Inputs of one seed against one receiver after the other."""

    seed: int
    tls: ssl.SSLContext
    inputs: int = 0
    messages: int = 0
    codes: Counter[str] = field(default_factory=Counter[str])

    async def one(self, running: Running, complaints: Complaints, number: int) -> None:
        """Send the input with this number."""
        random = Random(f"{self.seed}:{number}")  # noqa: S311 -- chance that can be had again
        sent = octets.make(random)
        way = random.choices(list(Way), (8, 1, 1))[0]
        pieces = octets.cut(random, sent)
        try:
            async with asyncio.timeout(HANG):
                heard = await self._send(running, way, pieces, sent)
                if way is Way.POLITE and b"STARTTLS" not in sent.upper():
                    again = await self._send(running, way, [sent], sent)
                    judgement.judge_difference(
                        heard.said, again.said, cut_off=heard.cut_off or again.cut_off
                    )
            for event in running.events:
                if isinstance(event, Traceback):
                    raise Wrong(event.text)
            if complaints.told:
                raise Wrong("\n".join(complaints.told))
        except TimeoutError:
            raise Wrong(f"stuck: {running.context.admission.total} client(s) still in") from None
        finally:
            running.events.clear()
        self.inputs += 1

    async def _send(
        self, running: Running, way: Way, pieces: Sequence[bytes], sent: bytes
    ) -> Heard:
        kept = running.store.mail.kept
        kept.clear()
        heard = Heard(b"", cut_off=True)
        async with running.client() as peer:
            # The receiver would read nothing from a client that disconnects at once.
            greeting = await peer.reader.readline()
            match way:
                case Way.POLITE:
                    heard = await _speak(peer, pieces)
                case Way.RESET:
                    await _say(peer, pieces)
                    if not peer.writer.is_closing():
                        peer.reset()
                case Way.ENCRYPTED:
                    await peer.ask("EHLO c")
                    if (await peer.ask("STARTTLS")).startswith("220"):
                        await peer.writer.start_tls(self.tls, server_hostname="relay.test")
                        await _say(peer, pieces)
        while running.context.admission.total:  # noqa: ASYNC110 - the product has no such event
            await asyncio.sleep(0)
        self._judge(running, greeting, heard, messages_at_most=judgement.messages_at_most(sent))
        return heard

    def _judge(
        self, running: Running, greeting: bytes, heard: Heard, *, messages_at_most: int
    ) -> None:
        replies = judgement.replies(greeting + heard.said)
        taken, told = len(running.store.mail.kept), judgement.queued(replies)
        if taken > messages_at_most:
            raise Wrong(f"{taken} messages of {messages_at_most} ends")
        if taken < told or (taken > told and not heard.cut_off):
            raise Wrong(f"{taken} messages taken, {told} acknowledged")
        for message in running.mail():
            judgement.judge_message(*message)
        self.messages += taken
        self.codes.update(reply[:3].decode() for reply in replies)


async def _speak(peer: Peer, pieces: Sequence[bytes]) -> Heard:
    listening = asyncio.ensure_future(_listen(peer))
    try:
        await _say(peer, pieces)
        if not peer.writer.is_closing():
            with contextlib.suppress(OSError):  # reset meanwhile
                peer.writer.write_eof()
        return await listening
    finally:
        listening.cancel()


async def _say(peer: Peer, pieces: Sequence[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            peer.send(piece)
            await peer.writer.drain()
            # The receiver, in the same loop, gets to see this piece by itself.
            await asyncio.sleep(0)


async def _listen(peer: Peer) -> Heard:
    said = bytearray()
    try:
        while more := await peer.reader.read(65536):
            said += more
    except ConnectionError:
        return Heard(_whole(said), cut_off=True)
    return Heard(bytes(said), cut_off=False)


def _whole(said: bytearray) -> bytes:
    return bytes(said[: said.rfind(b"\n") + 1])
