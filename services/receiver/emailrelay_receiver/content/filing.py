"""The way of a message's content into a draft: checked, counted, written in pieces of good size."""

import asyncio
from types import TracebackType
from typing import Self

from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.store.base import Draft
from emailrelay_receiver.content.chunk_reader import ChunkReader
from emailrelay_receiver.content.dot_reader import DotReader, HopCounter
from emailrelay_receiver.dialogue import NO_ROOM, TOO_BIG
from emailrelay_receiver.house import House
from emailrelay_receiver.received import end_of_ours

_PIECE = 64 * 1024
"""Octets that are gathered before they are written: most messages are written once."""
_MOST_HOPS = 100
"""RFC 5321 section 6.3: a loop is assumed beyond this many Received: lines, and not before."""
MOST_THROWN_AWAY = 64 * 1024 * 1024
"""Octets beyond the limit that are read for the sake of an answer."""

_STRAY = Reply(550, "5.6.0 bare CR or NUL in the message")
_TOO_MANY_HOPS = Reply(554, "5.4.6 too many hops, this looks like a mail loop")
_NOT_NOW = Reply(451, "4.3.0 cannot take mail right now, try again later")


class Filing:
    """One message's content on its way. An ``async with`` block; leaving it early leaves nothing.

    The first reason to refuse the message ends the writing; the rest is read and thrown away, because
    a client listens only after the end of its content.
    """

    def __init__(
        self,
        house: House,
        envelope: Envelope,
        reader: DotReader | ChunkReader,
        *,
        helo: str,
        protocol: str,
        dsn: DsnRequest,
    ) -> None:
        self.refusal: Reply | None = None
        self.size = 0
        """Octets of content, without our own line."""
        self._house = house
        self.envelope = envelope
        self._helo = helo
        self._protocol = protocol
        self._reader = reader
        self._dsn = dsn
        self._hops = HopCounter()
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._draft: Draft | None = None
        self._full = False
        """The draft must drain before more is written."""
        self._crowded = False
        """What is being written by all sessions leaves too little room."""
        self._failure: StoreError | None = None
        """Why what was to be written at once could not be: not told yet."""

    async def __aenter__(self) -> Self:
        """Begin the block. The draft is made with the first piece, so an idle client costs none."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave nothing of what was not committed."""
        await self.drop()

    @property
    def hopeless(self) -> bool:
        """Whether so much was thrown away that waiting for the end is no use."""
        return self.refusal is not None and self.size > self._house.offer.size + MOST_THROWN_AWAY

    async def take(self, chunk: bytes) -> None:
        """Take octets as they came from the client."""
        self._gather(chunk)
        if self.refusal is not None:
            self._forget()
            return
        refusal = self._judge()
        if refusal is not None:
            await self._refuse(refusal)
        elif self._gathered_size >= _PIECE or self._full:
            await self._write()

    def take_now(self, chunk: memoryview) -> bool:
        """Do what ``take`` does to a message that is not refused; False: it must be called, for the rest of it.

        The octets are taken in any case, and are of no use to anybody else.
        """
        self._gather(chunk)
        if self._judge() is not None:
            return False
        if self._gathered_size < _PIECE:
            return True
        try:
            more = self._begun().write(b"".join(self._gathered))
        except StoreError as error:
            self._failure = error
            return False
        self._forget()
        self._full = not more
        return more

    def _gather(self, chunk: bytes | memoryview) -> None:
        content = self._reader.feed(chunk)
        self.size += len(content)
        self._hops.feed(content)
        self._gathered.append(content)
        self._gathered_size += len(content)

    def _forget(self) -> None:
        self._gathered.clear()
        self._gathered_size = 0

    async def commit(self, session: str) -> QueueId | None:
        """Commit the message after the end of its content; None: see ``refusal``."""
        if self.refusal is None:
            await self._write()
        if self._draft is None:
            return None
        try:
            await self._draft.commit(self._house.stage, self._house.ack, session, self._dsn)
        except StoreError as error:
            await self._refuse(self._trouble(error))
            return None
        return self._draft.id

    async def answer(self, gone: asyncio.Future[None]) -> Reply | None:
        """Wait for what becomes of the message; None: nobody answered in time, or before ``gone``.

        A client that goes away takes back what nobody has vouched for.
        """
        if self._draft is None:
            return None
        return await self._draft.answer(self._house.answer_within, gone)

    def _judge(self) -> Reply | None:
        if self._house.offer.size and self.size > self._house.offer.size:
            return TOO_BIG
        if self._reader.stray:
            return _STRAY
        if self._gathered_size >= _PIECE and not self._house.takes(self._gathered_size):
            self._crowded = True
        if self._crowded:
            return NO_ROOM
        return _TOO_MANY_HOPS if self._hops.hops > _MOST_HOPS else None

    async def _write(self) -> None:
        """Write what was gathered."""
        try:
            if self._failure is not None:
                raise self._failure
            draft = self._begun()
            if self._full:
                await draft.drain()
            self._full = not draft.write(b"".join(self._gathered))
        except StoreError as error:
            await self._refuse(self._trouble(error))
        self._forget()

    def _begun(self) -> Draft:
        """Give the draft, the first time a new one with our line in front of what was gathered."""
        if self._draft is None:
            self._draft = self._house.store.draft(self.envelope)
            content = b"".join(self._gathered)
            ours = self._received(self._draft.id)
            self._gathered = [ours, end_of_ours(content) if ours else b"", content]
        return self._draft

    def _received(self, queue_id: QueueId) -> bytes:
        return self._house.received(
            helo=self._helo,
            client=self.envelope.client,
            protocol=self._protocol,
            queue_id=queue_id,
        )

    def _trouble(self, error: StoreError) -> Reply:
        self._house.store_trouble(error)
        return NO_ROOM if error.no_room else _NOT_NOW

    async def _refuse(self, refusal: Reply) -> None:
        self.refusal = refusal
        self._forget()
        await self.drop()

    async def drop(self) -> None:
        """Leave nothing of what was not committed."""
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.discard()
