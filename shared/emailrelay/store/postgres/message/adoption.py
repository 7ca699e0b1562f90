"""Messages of other stores become rows, each under the id that it has there.

The content is written ahead under an id of its own. It becomes that of the message in the
transaction that inserts the row, and not at all if the row is there already: a service may work on
that one.
"""

from collections.abc import AsyncIterator, Sequence
from typing import cast
from uuid import UUID

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import Entry, Filtered
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.stage import Stage
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message.committing import NewMessage, insert
from emailrelay.store.postgres.message.row import lines, new_uuid
from emailrelay.store.postgres.message.settling import WRITE
from emailrelay.store.postgres.message.upload import DISCARD, Upload, move

# The lock is a write: see ``committing``.
_THERE = """
select m.size, m.crc32, m.journal from emailrelay.message m where m.id = %(id)s for update
"""
_LEFT = "select exists (select 1 from emailrelay.history where id = %(id)s)"
_FORGET = "delete from emailrelay.history where id = %(id)s"


async def adopt(
    database: Database,
    message: QueueId,
    envelope: Envelope,
    entries: Sequence[Entry],
    content: AsyncIterator[bytes],
    *,
    once: bool,
) -> None:
    """See ``Store.adopt``; the history knows for seven days of messages that have left."""
    uuid = new_uuid(message)
    upload = Upload(database, to_uuid(database.new_id()))
    try:
        async for chunk in content:
            if not upload.write(chunk):
                await upload.drain()
        new = NewMessage(
            id=uuid,
            stage=Stage.HELD,
            ack=Ack.STORED,
            size=upload.length,
            crc32=upload.crc32,
            head=envelope_format.write(envelope),
            journal=lines(entries),
            chunks=upload.rest(),
        )
        await _take_over(database, message, new, upload, once=once)
    finally:
        await upload.discard()  # what has become the message's content stays


async def _take_over(
    database: Database, message: QueueId, new: NewMessage, upload: Upload, *, once: bool
) -> None:
    """Insert the row and its content, unless it is there, or (``once``) has left.

    Raises:
        StoreError: it may not be here; the caller makes a lost commit again.

    """
    given = {"id": new.id}
    async with database.connections.transact("take over a message") as connection:
        if await _is_there(connection, message, new):
            return
        for statement in DISCARD:  # its commit here may have failed
            await connection.execute(statement, given)
        if once and await _has_left(connection, new.id):
            await connection.execute(WRITE)
            return
        if not once:  # it may have been here before it went where it comes from
            await connection.execute(_FORGET, given)
        await insert(connection, [new], database.clock.parameter, first=True)
        if once and await _has_left(connection, new.id):
            raise StoreError(f"adopt {message}", "another process works on it just now")
        if upload.saved:
            await move(connection, upload.uuid, upload.saved, new.id)


async def _has_left(connection: DatabaseConnection, uuid: UUID) -> bool:
    cursor = await connection.execute(_LEFT, {"id": uuid})
    return await cursor.fetchone() == (True,)


async def _is_there(connection: DatabaseConnection, message: QueueId, new: NewMessage) -> bool:
    """Return whether there is a row of this message.

    Raises:
        StoreError: there is one of another message.

    """
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_THERE, {"id": new.id})
        found = await cursor.fetchone()
    if found is None:
        return False
    size, crc32, journal = found
    contents = {(size, crc32), *_contents(journal_format.parse(cast("bytes", journal)))}
    if (new.size, new.crc32) in contents:
        return True
    raise StoreError(
        f"adopt {message}",
        "the database has another message with this id; rename both files of this one, with another"
        " id, such as 1700000000000.1.1",
    )


def _contents(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Return length and CRC-32 of each content that a message has had: filters may change it."""
    return [
        (entry.length, entry.crc32) for entry in entries if isinstance(entry, Accepted | Filtered)
    ]
