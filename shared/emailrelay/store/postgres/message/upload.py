"""Content for the database: a small one stays here, a large one is written ahead in chunks."""

import contextlib
import zlib
from uuid import UUID

from emailrelay.errors import StoreError
from emailrelay.store.base import CHUNK
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.link.trouble import Final
from emailrelay.store.postgres.message.committing import insert_chunks

_AHEAD = 2 * CHUNK
"""Octets kept here at most, besides the chunk just written."""
LEASE = 3600.0
"""Seconds that the first part of a large content is kept without another chunk."""

_DRAFT = """
insert into emailrelay.draft (id, lease_until)
values (%(id)s, statement_timestamp() + make_interval(secs => %(lease)s))
on conflict (id) do update set lease_until = excluded.lease_until
"""
_END_DRAFT = "delete from emailrelay.draft where id = %(id)s"
# The draft first: a commit in progress holds its row, and the content is judged after that commit.
DISCARD = (
    _END_DRAFT,
    """
    delete from emailrelay.body where message = %(id)s
    and not exists (select 1 from emailrelay.message m where m.id = %(id)s)
    """,
)
"""Removes what was uploaded under an id, unless it is the content of a message."""
_MOVE = "update emailrelay.body set message = %(to)s where message = %(id)s returning n"


class Upload:
    """A content being written, under the id ``uuid`` of a message or of none."""

    def __init__(self, database: Database, uuid: UUID) -> None:
        self.uuid = uuid
        self.saved = 0
        """Chunks in the database."""
        self.length, self.crc32 = 0, 0
        self._database = database
        self._unsaved = bytearray()

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft.write``."""
        self._unsaved += chunk
        self.length += len(chunk)
        self.crc32 = zlib.crc32(chunk, self.crc32)
        return len(self._unsaved) < _AHEAD

    async def drain(self) -> None:
        """See ``Draft.drain``."""
        while len(self._unsaved) >= _AHEAD:
            whole = [(self.uuid, n, octets) for n, octets in self._chunks(_AHEAD)]
            async with self._database.connections.transact("write a message") as connection:
                await connection.execute(_DRAFT, {"id": self.uuid, "lease": LEASE})
                await insert_chunks(connection, whole)
            self.saved += len(whole)
            del self._unsaved[:_AHEAD]

    def rest(self) -> list[tuple[int, bytes]]:
        """Return the chunks that are not in the database, with their numbers."""
        return self._chunks(len(self._unsaved))

    def _chunks(self, most: int) -> list[tuple[int, bytes]]:
        return [
            (self.saved + n, bytes(self._unsaved[start : start + CHUNK]))
            for n, start in enumerate(range(0, most, CHUNK))
        ]

    async def discard(self) -> None:
        """Leave nothing in the database; if that fails, a sweep removes it after the lease."""
        if self.saved:
            with contextlib.suppress(StoreError):
                async with self._database.connections.transact("discard a message") as connection:
                    for statement in DISCARD:
                        await connection.execute(statement, {"id": self.uuid})


async def move(connection: DatabaseConnection, upload: UUID, saved: int, message: UUID) -> None:
    """Make the ``saved`` chunks of an upload those of a message, within a transaction.

    Raises:
        Final: they were removed: it took too long.

    """
    given = {"id": upload, "to": message}
    moved = await (await connection.execute(_MOVE, given)).fetchall()
    if len(moved) != saved:
        raise Final("adopt a message", "it took too long: its first part was removed")
    await connection.execute(_END_DRAFT, given)
