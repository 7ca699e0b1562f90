"""One message's content on its way into the store: checked, counted, written in large pieces."""

import asyncio
import time
from typing import TypeAlias

from emailrelay import message_id
from emailrelay.ack import Ack
from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.store.draft import Draft
from emailrelay_receiver.content.chunk_reader import ChunkReader
from emailrelay_receiver.content.dot_reader import DotReader, HopCounter
from emailrelay_receiver.content.received import end_of_ours, received_line
from emailrelay_receiver.context import ReceiverContext
from emailrelay_receiver.dialogue.replies import NO_ROOM, NOT_NOW, TOO_BIG

_PIECE = 64 * 1024
"""Octets that are gathered before they are written: most messages are written once."""
_MOST_HOPS = 100
"""RFC 5321 section 6.3: a loop is assumed beyond this many Received: lines, and not before."""
MOST_THROWN_AWAY = 64 * 1024 * 1024
"""Octets beyond the limit that are read only for the sake of a reply."""

_STRAY = Reply(550, "5.6.0 bare CR or NUL in the message")
_TOO_MANY_HOPS = Reply(554, "5.4.6 too many hops, this looks like a mail loop")


ContentReader: TypeAlias = DotReader | ChunkReader
"""Decodes content as DATA or BDAT carries it."""


class IncomingMessage:
    """One message being received. ``drop`` must follow, whether it was committed or not.

    The first reason to refuse the message ends the writing. The rest is read and thrown away,
    because a client waits for a reply only after the end of its content.
    """

    def __init__(
        self,
        context: ReceiverContext,
        envelope: Envelope,
        reader: ContentReader,
        *,
        helo: str,
        protocol: str,
        dsn: DsnRequest,
    ) -> None:
        """Make no draft yet: a client that sends no content costs none."""
        self.refusal: Reply | None = None
        self.size = 0
        """Octets of content, without our own line."""
        self.full = False
        """The store must drain before it takes more."""
        self.commit_seconds = 0.0
        """The time that the store took to make it durable."""
        self.envelope = envelope
        """With the Message-ID once the message was committed."""
        self._context = context
        self._helo = helo
        self._protocol = protocol
        self._reader = reader
        self._dsn = dsn
        self._hops = HopCounter()
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._draft: Draft | None = None

    @property
    def ended(self) -> bool:
        """True if ``drop`` has nothing to do."""
        return self._draft is None and not self._gathered

    @property
    def hopeless(self) -> bool:
        """True if the client sends so much after the refusal that we do not wait for its end."""
        return self.refusal is not None and self.size > self._context.offer.size + MOST_THROWN_AWAY

    def take(self, octets: bytes | memoryview) -> bool:
        """Take octets as they arrived; the caller may change them afterwards.

        False: call ``settle`` next. The content is at its end, refused, or has to wait for the
        store.
        """
        content = self._reader.feed(octets)
        self.size += len(content)
        if self.refusal is None:
            self._hops.feed(content)
            self._gathered.append(content)
            self._gathered_size += len(content)
            self.refusal = self._judge()
            if self.refusal is not None:
                return False
        if self._reader.rest is not None or self.hopeless:
            return False
        return self._gathered_size < _PIECE or self._write()

    async def settle(self) -> None:
        """Wait for the store where ``take`` could not."""
        if self.refusal is not None:
            await self.drop()
        elif self.full:
            await self._drain()

    async def commit(self, session: str) -> QueueId | None:
        """Commit the message after the end of its content; None: see ``refusal``."""
        if self.refusal is None and self._reader.stray:  # a CR was the last octet
            self.refusal = _STRAY
        if self.refusal is None and self.full:
            await self._drain()
        if self.refusal is None:
            self._write()
        if self.refusal is None and self._draft is not None:
            context = self._context
            began = time.monotonic()
            try:
                await self._draft.commit(context.stage, context.ack, session, self._dsn)
            except StoreError as error:
                self.refusal = self._trouble(error)
            else:
                self.commit_seconds = time.monotonic() - began
                queue_id = self._draft.id
                if context.ack is Ack.STORED:
                    self._draft = None
                return queue_id
        await self.drop()
        return None

    async def answer(self, gone: asyncio.Future[None]) -> Reply | None:
        """Wait for the reply of the filters or the next server; None: none came before ``gone``.

        A client that goes away before that withdraws its message, unless it is on stable storage.
        """
        if self._draft is None:
            return None
        return await self._draft.answer(self._context.answer_within, gone)

    async def drop(self) -> None:
        """Discard a message that was not committed."""
        self._forget()
        draft, self._draft = self._draft, None
        if draft is not None:
            await draft.discard()

    def _judge(self) -> Reply | None:
        """Return the reason to refuse the message, as far as it is known."""
        if self._context.offer.size and self.size > self._context.offer.size:
            return TOO_BIG
        if self._reader.stray:
            return _STRAY
        if self._gathered_size >= _PIECE and not self._context.takes(self._gathered_size):
            return NO_ROOM
        return _TOO_MANY_HOPS if self._hops.hops > _MOST_HOPS else None

    def _write(self) -> bool:
        """Write the gathered octets; False: await ``settle``, for the store or a refusal."""
        try:
            draft = self._draft or self._begun()
            self.full = not draft.write(b"".join(self._gathered))
        except StoreError as error:
            self.refusal = self._trouble(error)
            return False
        self._forget()
        return not self.full

    async def _drain(self) -> None:
        """Wait until the store can take more content."""
        self.full = False
        try:
            await self._begun().drain()
        except StoreError as error:
            self.refusal = self._trouble(error)

    def _begun(self) -> Draft:
        """Return the draft. At first make it, and put our line in front of the gathered octets.

        These have the whole header, or at least 64 KiB of it.
        """
        if self._draft is None:
            content = b"".join(self._gathered)
            self.envelope = self.envelope._replace(message_id=message_id.of_content(content))
            self._draft = self._context.store.draft(self.envelope)
            ours = self._received(self._draft.id)
            self._gathered = [ours, end_of_ours(content) if ours else b"", content]
        return self._draft

    def _received(self, queue_id: QueueId) -> bytes:
        """Return our Received: line, or nothing if it is not wanted."""
        if "content" in self._context.anonymous:
            return b""
        client = self.envelope.client
        return received_line(
            helo=self._helo,
            client="" if client.startswith("/") else client,  # a unix socket's path is private
            domain=self._context.offer.domain,
            protocol=self._protocol,
            queue_id=queue_id,
            now=self._context.clock(),
        )

    def _forget(self) -> None:
        self._gathered.clear()
        self._gathered_size = 0

    def _trouble(self, error: StoreError) -> Reply:
        self._context.store_trouble(error)
        return NO_ROOM if error.no_room else NOT_NOW
