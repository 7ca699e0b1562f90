"""Reads one chunk of a content from the database."""

from typing import cast
from uuid import UUID

from emailrelay.store.postgres.link.database import Database

_CHUNK = b"select octets from emailrelay.body where message = %(id)s and n = %(n)s"


async def read_chunk(database: Database, message: UUID, n: int) -> bytes | None:
    """Return chunk ``n`` of a message's content; None: there is none.

    Raises:
        StoreError: the database cannot be asked now.

    """
    async with (
        database.connections.lend("read a message") as connection,
        connection.cursor(binary=True) as cursor,
    ):
        await cursor.execute(_CHUNK, {"id": message, "n": n})
        found = await cursor.fetchone()
    return None if found is None else cast("bytes", found[0])
