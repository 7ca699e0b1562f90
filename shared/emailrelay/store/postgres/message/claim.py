"""A claim on a message in the database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from emailrelay import envelope_format
from emailrelay.envelope import Envelope
from emailrelay.errors import RelayError, StoreError
from emailrelay.events.store import TakenIn
from emailrelay.mail_fields import mail_fields
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.claim import Claim, WorkCopy
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message.claiming import Claimer, TakenMessage
from emailrelay.store.postgres.message.committing import Committer
from emailrelay.store.postgres.message.content_chunk import read_chunk
from emailrelay.store.postgres.message.draft import PostgresDraft
from emailrelay.store.postgres.message.leases import Lease, Leases
from emailrelay.store.postgres.message.settling import Adopted, Ending, FilterPass, Given, Settler
from emailrelay.store.postgres.message.upload import Upload
from emailrelay.store.postgres.message.waiting import ClientWaits
from emailrelay.store.private_copy import PrivateCopy, read_content, read_envelope

_AFTER_TROUBLE = 60.0
"""Seconds for which the feeds leave a message alone whose settlement failed."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of an open store that claims work with."""

    database: Database
    committer: Committer
    waiters: ClientWaits
    settler: Settler
    leases: Leases
    claimer: Claimer


class PostgresClaim(Claim):
    """See ``Claim``."""

    def __init__(self, services: Services, taken: TakenMessage) -> None:
        row = taken.row
        self.id, self.stage, self.size = row.id, row.stage, taken.size
        self.envelope, self.history, self.ack = taken.envelope, taken.history, taken.ack
        self._entries = taken.entries
        self._services, self._row, self._content = services, row, taken.content
        self._lease = Lease(row.uuid, row.token, taken.ack)
        self._copy: PrivateCopy | None = None
        self._touched: bool | None = None
        self._upload: Upload | None = None
        self._open = True
        self._peer = ""
        """The server to which a final dot was sent."""
        services.leases.hold(self._lease)

    async def content(self) -> AsyncIterator[bytes]:
        """See ``Claim.content``."""
        if self._content is not None:
            if self._content:
                yield self._content
            return
        for n in range((self._row.size + CHUNK - 1) // CHUNK):
            if chunk := await self._chunk(n):
                yield chunk

    async def _chunk(self, n: int) -> bytes:
        chunk = await read_chunk(self._services.database, self._row.uuid, n)
        if chunk is not None:
            return chunk
        if self.history.released or self.stage is Stage.FAILED:
            return b""  # an operator wants it sent as it is, or a notice shows what there is
        raise StoreError(f"read {self.id}", f"chunk {n} of its content is missing")

    async def work_copy(self, suffix: str) -> WorkCopy:
        """See ``Claim.work_copy``."""
        self._drop_copy()
        copy = await asyncio.to_thread(
            PrivateCopy, self.id, suffix, self.envelope, self._row.entries()
        )
        self._copy, self._touched = copy, None
        async for chunk in self.content():
            await asyncio.to_thread(copy.write, chunk)
        return copy.paths

    def touched(self) -> bool:
        """See ``Claim.touched``."""
        if self._touched is None:
            self._touched = self._copy is not None and self._copy.changed()
        return self._touched

    async def before_dot(self, peer: str) -> bool:
        """See ``Claim.before_dot``."""
        wanted = await self._services.leases.before_dot(self._lease, peer)
        self._peer = peer if wanted else self._peer
        return wanted

    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        """See ``Claim.settle``."""
        if not self._open:
            raise RuntimeError(f"{self.id}: the claim has ended")
        if isinstance(settlement, Pass) and self.stage is not Stage.UNFILTERED:
            raise ValueError(
                f"{self.id}: only an unfiltered message passes, not a {self.stage} one"
            )
        try:
            passed = await self._passed(settlement) if isinstance(settlement, Pass) else settlement
            await self._take_in(settlement)
            heard = await self._settle(self._ending(passed, answer))
        except StoreError:
            # What filters send would go out each time that the chain runs again.
            self._services.database.leave_alone(self._row.uuid, _AFTER_TROUBLE)
            if self._upload is not None:
                await self._upload.discard()
            await self._end()
            raise
        if answer is not None:
            self._services.waiters.answered_here(self._row.uuid)
        return heard

    async def _settle(self, ending: Ending) -> bool:
        self._open = False  # even if this call is cancelled, the message is not given back
        try:
            return await self._services.settler.settle(ending)
        finally:
            self._close()

    def _ending(
        self,
        settlement: Defer | Done | Fail | Hold | FilterPass | Given,
        answer: Reply | None = None,
    ) -> Ending:
        return Ending(
            id=self._row.uuid,
            token=self._row.token,
            stage=self.stage,
            history=self.history,
            envelope=self.envelope,
            entries=self._entries,
            size=self.size,
            ack=self.ack,
            settlement=settlement,
            answer=answer,
            peer=self._peer,
        )

    async def _passed(self, settlement: Pass) -> FilterPass:
        """Return what the filters have made of the message."""
        if self._copy is None or not self.touched():
            length, crc32 = self.history.length, self.history.crc32
            return FilterPass(
                size=self.size if length is None else length,
                crc32=crc32 or 0,
                passed=settlement,
            )
        head = envelope_format.write(self._copy.result())
        database = self._services.database
        upload = self._upload = Upload(database, to_uuid(database.new_id()))
        for chunk in read_content(self._copy.paths):
            if not upload.write(chunk):
                await upload.drain()
        adopted = Adopted(
            head=head,
            size=upload.length,
            crc32=upload.crc32,
            chunks=upload.rest(),
            upload=upload.uuid,
            saved=upload.saved,
        )
        return FilterPass(
            size=upload.length,
            crc32=upload.crc32,
            passed=settlement,
            adopted=adopted,
        )

    async def _take_in(self, settlement: Settlement) -> None:
        """Take in the messages that programs put beside the copy."""
        if self._copy is None:
            return
        database = self._services.database
        for stage, pair in self._copy.new_pairs():
            try:
                envelope = read_envelope(pair)
            except StoreError as error:
                database.trouble("take in a message", error)
                continue
            try:
                message = await self._take_in_pair(stage, pair, envelope)
            except RelayError as error:
                if isinstance(settlement, Pass | Done):
                    raise  # the chain runs again: recipients may be in the new messages only
                database.trouble("take in a message", error)
                continue
            database.report(TakenIn(id=message, **mail_fields(envelope)))

    async def _take_in_pair(self, stage: Stage, pair: WorkCopy, envelope: Envelope) -> QueueId:
        services = self._services
        async with PostgresDraft(
            services.database, services.committer, services.waiters, envelope
        ) as draft:
            for chunk in read_content(pair):
                if not draft.write(chunk):
                    await draft.drain()
            await draft.commit(stage)
            return draft.id

    async def release(self) -> None:
        """See ``Claim.release``."""
        if self._open:
            await self._end()

    async def _end(self) -> None:
        """Give the message back; its lease ends by itself if that fails."""
        self._close()
        try:
            await self._services.settler.settle(self._ending(Given.BACK))
        except RelayError as error:
            self._services.database.trouble(f"give back {self.id}", error)

    def _close(self) -> None:
        self._open = False
        self._services.leases.drop(self._lease)
        self._drop_copy()

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.discard()
            self._copy = None
