"""The right to notify the sender of a failed message, and the notice until it leaves."""

import zlib
from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events.store import Recovered
from emailrelay.journal import Notified
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import from_uuid, to_uuid
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.failure import (
    FailedMessage,
    PreparedNotice,
    notice_depth,
    notice_envelope,
)
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.marks.entrance import entrance
from emailrelay.store.postgres.message.claim import PostgresClaim
from emailrelay.store.postgres.message.committing import NewMessage, insert
from emailrelay.store.postgres.message.row import lines

_NOTE = """
update emailrelay.message set journal = journal || %(lines)s
where id = %(id)s and lease_token = %(token)s and lease_until is not null returning id
"""
_PREPARE = """
insert into emailrelay.notice (about, id, local, envelope, octets)
values (%(about)s, %(id)s, %(local)s, %(head)s, %(octets)s)
on conflict (about) do update set id = excluded.id, local = excluded.local,
    envelope = excluded.envelope, octets = excluded.octets
"""
_PREPARED = "select id, octets from emailrelay.notice where about = %(about)s"
_LEAVE = """
delete from emailrelay.notice where about = %(about)s and local = %(local)s
returning id, envelope, octets
"""
_LEFT = """
select n.about from emailrelay.notice n where not n.local and not exists (
    select 1 from emailrelay.message m
    where m.id = n.about and m.lease_until > statement_timestamp())
"""


class PostgresFailure(FailedMessage):
    """See ``FailedMessage``. It is a claim on the failed message."""

    def __init__(self, database: Database, claim: PostgresClaim, uuid: UUID, token: int) -> None:
        self.id, self.envelope, self.history = claim.id, claim.envelope, claim.history
        self._database, self._claim = database, claim
        self._uuid, self._token = uuid, token

    async def beginning(self, most: int) -> bytes:
        """See ``FailedMessage.beginning``."""
        found = bytearray()
        async for chunk in self._claim.content():
            found += chunk
            if len(found) >= most:
                break
        return bytes(found[:most])

    async def record(self, *, told: bool = False) -> None:
        """See ``FailedMessage.record``."""
        noted = Notified(at=self._database.clock(), told=told)
        async with self._database.connections.lend("note that a sender is told") as connection:
            await self._note(connection, noted)

    async def _note(self, connection: DatabaseConnection, noted: Notified) -> None:
        cursor = await connection.execute(
            _NOTE, {"id": self._uuid, "token": self._token, "lines": lines([noted])}
        )
        if await cursor.fetchone() is None:
            raise StoreError(f"tell of {self.id}", "another process does it by now")

    def beside(self, other: FailedMessage) -> bool:
        """See ``FailedMessage.beside``."""
        return isinstance(other, PostgresFailure) and other._database is self._database  # noqa: SLF001 - its own kind

    async def prepare(
        self,
        text: Callable[[QueueId], bytes],
        *,
        local: bool,
        to: Sequence[Address] = (),
        also: Sequence[FailedMessage] = (),
    ) -> PreparedNotice:
        """See ``FailedMessage.prepare``."""
        if self.history.released:
            # An earlier notice, whose process died, may be about other messages, too.
            await relay(self._database, self._uuid)
        message = self._database.new_id()
        octets = text(message)
        envelope: Envelope = self._claim.envelope
        to = tuple(to) or (envelope.sender,)
        depth = notice_depth((self, *also))
        head = envelope_format.write(notice_envelope(to, octets)) + journal_format.write(
            _accepted(octets, Stage.READY, self._database.clock(), depth)
        )
        noted = Notified(at=self._database.clock(), told=True, to=to, notice=message)
        async with self._database.connections.transact("prepare a notice") as connection:
            for failure in (self, *also):
                if isinstance(failure, PostgresFailure):
                    await failure._note(connection, noted)  # noqa: SLF001 - its own kind
            await connection.execute(
                _PREPARE,
                {
                    "about": self._uuid,
                    "id": to_uuid(message),
                    "local": local,
                    "head": head,
                    "octets": octets,
                },
            )
        return PreparedNotice(message, octets)

    async def prepared(self) -> PreparedNotice | None:
        """See ``FailedMessage.prepared``."""
        async with (
            self._database.connections.lend("read a notice") as connection,
            connection.cursor(binary=True) as cursor,
        ):
            await cursor.execute(_PREPARED, {"about": self._uuid})
            found = await cursor.fetchone()
        if found is None:
            return None
        return PreparedNotice(from_uuid(cast("UUID", found[0])), cast("bytes", found[1]))

    async def relay(self) -> None:
        """See ``FailedMessage.relay``."""
        await relay(self._database, self._uuid)

    async def delivered(self) -> None:
        """See ``FailedMessage.delivered``."""
        async with self._database.connections.lend("forget a notice") as connection:
            await connection.execute(_LEAVE, {"about": self._uuid, "local": True})

    async def remove(self) -> None:
        """See ``FailedMessage.remove``."""
        await self._claim.settle(Done(end=MessageEnd.EXPIRED))

    async def release(self) -> None:
        """See ``FailedMessage.release``."""
        await self._claim.release()


async def relay(database: Database, about: UUID) -> QueueId | None:
    """Make a notice a message, if it is none yet: both or neither of its leaving and its coming."""
    async with database.connections.transact("relay a notice") as connection:
        async with connection.cursor(binary=True) as cursor:
            await cursor.execute(_LEAVE, {"about": about, "local": False})
            found = await cursor.fetchone()
        if found is None:
            return None
        stage = await entrance(connection)
        uuid, head, octets = (
            cast("UUID", found[0]),
            cast("bytes", found[1]),
            cast("bytes", found[2]),
        )
        message = _message(uuid, head, octets, stage, database.clock())
        await insert(connection, [message], database.clock.parameter)
    database.ring(stage)
    return from_uuid(uuid)


def _accepted(octets: bytes, stage: Stage, now: float, depth: int) -> Accepted:
    crc32 = zlib.crc32(octets)
    return Accepted(at=now, stage=stage, length=len(octets), crc32=crc32, notice=depth)


def _message(uuid: UUID, prepared: bytes, octets: bytes, stage: Stage, now: float) -> NewMessage:
    """Return the message of a notice; its line ``Accepted`` gets this time and stage."""
    tail = envelope_format.parse(prepared).tail
    accepted = _accepted(octets, stage, now, journal_format.history(tail).notice_depth)
    chunks = [
        (n, octets[start : start + CHUNK]) for n, start in enumerate(range(0, len(octets), CHUNK))
    ]
    return NewMessage(
        id=uuid,
        stage=stage,
        ack=Ack.STORED,
        size=len(octets),
        crc32=accepted.crc32,
        head=prepared[: len(prepared) - len(tail)],
        journal=journal_format.write(accepted),
        chunks=chunks,
    )


async def relay_left(database: Database) -> None:
    """Relay the notices whose process died before it could."""
    async with database.connections.lend("look for notices") as connection:
        cursor = await connection.execute(_LEFT)
        left = [cast("UUID", about) for (about,) in await cursor.fetchall()]
    for about in left:
        message = await relay(database, about)
        if message is not None:
            database.report(Recovered(id=message, what="notice sent on"))
