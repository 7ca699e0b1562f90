"""A message being written."""

import asyncio
from uuid import UUID

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.draft import Draft
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message.committing import AnswerLost, Committer, NewMessage
from emailrelay.store.postgres.message.row import new_uuid
from emailrelay.store.postgres.message.upload import Upload
from emailrelay.store.postgres.message.waiting import ClientWaits


class PostgresDraft(Draft):
    """See ``Draft``."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        waiters: ClientWaits,
        envelope: Envelope,
        message: QueueId | None = None,
    ) -> None:
        database.connections.check("begin a message")
        self.id = message or database.new_id()
        self._uuid: UUID = new_uuid(self.id)
        self._database, self._committer, self._waiters = database, committer, waiters
        self._envelope = envelope
        self._upload = Upload(database, self._uuid)
        self._committed, self._awaited = False, False
        self._fate_unknown = False
        self._committing: asyncio.Future[None] | None = None

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft.write``."""
        return self._upload.write(chunk)

    async def drain(self) -> None:
        """See ``Draft.drain``."""
        await self._upload.drain()

    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """See ``Draft.commit``."""
        await self.drain()
        ack = ack.at(stage)
        accepted = Accepted(
            at=self._database.clock(),
            stage=stage,
            length=self._upload.length,
            crc32=self._upload.crc32,
            ack=ack,
            session=session,
            dsn=dsn,
        )
        message = self._new(stage, journal_format.write(accepted), ack)
        self._committed = True  # from here its fate is the database's
        if ack is not Ack.STORED:
            self._waiters.expect(self._uuid)
            self._awaited = True
        self._committing = asyncio.ensure_future(self._committer.commit(message))
        try:
            await asyncio.shield(self._committing)
        except StoreError as error:
            self._committed = False
            self._fate_unknown = isinstance(error, AnswerLost)
            self._waiters.forget(self._uuid)
            self._awaited = False
            raise

    def _new(self, stage: Stage, lines: bytes, ack: Ack) -> NewMessage:
        return NewMessage(
            id=self._uuid,
            stage=stage,
            ack=ack,
            size=self._upload.length,
            crc32=self._upload.crc32,
            head=envelope_format.write(self._envelope),
            journal=lines,
            chunks=self._upload.rest(),
            spilled=self._upload.saved > 0,
        )

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft.answer``."""
        if not self._awaited:
            return None
        try:
            return await self._waiters.answer(self._uuid, within, gone)
        finally:
            self._awaited = False

    def refused(self) -> None:
        """See ``Draft.refused``."""
        if self._fate_unknown:
            self._committer.take_back(self._uuid)

    async def discard(self) -> None:
        """See ``Draft.discard``."""
        if self._awaited:
            self._awaited = False
            if self._committing is not None and not self._committing.done():  # it was cancelled
                await asyncio.wait((self._committing,))
            await self._waiters.give_up(self._uuid)
        elif not self._committed:
            await self._upload.discard()
