"""A message that a local program puts into the database."""

import asyncio
import zlib
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack

from emailrelay import envelope_format, journal_format, message_id
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Address, Body, Envelope
from emailrelay.errors import StoreForbidden, StoreUnusable
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.marks import entrance
from emailrelay.store.postgres.message.committing import Committer, NewMessage
from emailrelay.store.postgres.short_work import opened
from emailrelay.store.submission import Submission, SubmissionForbidden, SubmissionRefused


class PostgresSubmission(Submission):
    """See ``Submission``. It holds the content in memory until ``commit``."""

    def __init__(self, url: str, next_id: Callable[[], QueueId]) -> None:
        """Begin a message.

        Raises:
            StoreUnusable: there is no such store, or this user has no write access to it.
            StoreError: the database is unavailable.

        """
        self.id = next_id()
        self.path = f"{self.id}"
        self._content = b""
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        try:
            self._database, self._stage = self._runner.run(self._begin(url))
        except BaseException:
            self.discard()
            raise

    async def _begin(self, url: str) -> tuple[Database, Stage]:
        database = await self._open.enter_async_context(opened(url))
        async with database.connections.lend("read whether filters come first") as lent:
            return database, await entrance.entrance(lent)

    def write(self, pieces: Iterable[bytes]) -> None:
        """See ``Submission.write``."""
        self._content = b"".join(pieces)

    def commit(self, sender: Address, recipients: tuple[Address, ...], dsn: DsnRequest) -> None:
        """See ``Submission.commit``."""
        content = self._content
        crc32 = zlib.crc32(content)
        envelope = Envelope(
            sender=sender,
            to_remote=recipients,
            body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
            utf8=not all(address.isascii() for address in (sender, *recipients)),
            message_id=message_id.of_content(content),
        )
        accepted = Accepted(
            at=self._database.clock(), stage=self._stage, length=len(content), crc32=crc32, dsn=dsn
        )
        message = NewMessage(
            id=to_uuid(self.id),
            stage=self._stage,
            ack=Ack.STORED,
            size=len(content),
            crc32=crc32,
            head=envelope_format.write(envelope),
            journal=journal_format.write(accepted),
            chunks=[
                (n, content[start : start + CHUNK])
                for n, start in enumerate(range(0, len(content), CHUNK))
            ],
        )
        self._runner.run(self._commit(message))
        self.discard()

    async def _commit(self, message: NewMessage) -> None:
        committer = Committer(self._database)
        try:
            await committer.commit(message)
        except StoreForbidden as error:  # this user can read the tables, but not change them
            raise SubmissionForbidden(str(error)) from error
        except StoreUnusable as error:
            raise SubmissionRefused(str(error)) from error
        finally:
            await committer.close()

    def discard(self) -> None:
        """See ``Submission.discard``."""
        try:
            self._runner.run(self._open.aclose())
        finally:
            self._runner.close()
