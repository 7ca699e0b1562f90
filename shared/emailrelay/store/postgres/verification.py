"""A search for damage in the database, which changes nothing, and its repair."""

import zlib
from collections.abc import Sequence
from typing import cast
from uuid import UUID

from emailrelay.errors import DamagedMessage
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import to_uuid
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.content_damage import content_damage
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message import operator
from emailrelay.store.postgres.message.content_chunk import read_chunk
from emailrelay.store.verification import DamageFinding, Verification

_WORKING = (Stage.UNFILTERED, Stage.READY)
_MEASURE = """
select coalesce(sum(length(octets)), 0)::bigint, count(*), coalesce(max(n), -1) + 1
from emailrelay.body where message = %(id)s
"""


class PostgresVerification(Verification):
    """See ``Verification``. With ``contents``, checksums are compared as well as lengths."""

    def __init__(self, database: Database, store: Store, *, contents: bool) -> None:
        """Search ``database``, and repair it through ``store``, which has it open."""
        self.messages = 0
        self._database, self._store, self._contents = database, store, contents

    async def listing(self) -> list[str]:
        """See ``Verification.listing``; a name is an id."""
        return [listed.id async for listed in operator.listing(self._database, tuple(Stage))]

    async def look(self, name: str) -> list[DamageFinding]:
        """See ``Verification.look``."""
        message = QueueId(name)
        try:
            found = await self._store.describe(message)
        except DamagedMessage as error:
            self.messages += 1
            stage = await self._stage(message)
            # FAILED and HELD mail waits for the operator in any case.
            return [DamageFinding(name, str(error), message, stage)] if stage in _WORKING else []
        if found is None:
            return []  # it has moved on
        self.messages += 1
        stage, _, history = found
        if stage not in _WORKING or history.released:  # the operator wants it sent as it is
            return []
        problem = await self._content_damage(to_uuid(message), history)
        if problem is None:
            return []
        if await self._store.describe(message) != found:  # it has changed meanwhile
            self.messages -= 1
            return await self.look(name)
        return [DamageFinding(name, problem, message, stage)]

    async def _stage(self, message: QueueId) -> Stage | None:
        async with self._database.connections.lend("read a message") as connection:
            cursor = await connection.execute(
                "select stage from emailrelay.message where id = %(id)s", {"id": to_uuid(message)}
            )
            found = await cursor.fetchone()
        return None if found is None else Stage(str(found[0]))

    async def _content_damage(self, uuid: UUID, history: History) -> str | None:
        async with self._database.connections.lend("measure a message") as connection:
            cursor = await connection.execute(_MEASURE, {"id": uuid})
            size, chunks, expected = await cursor.fetchone() or (0, 0, 0)
        if chunks != expected:
            return "content: a chunk is missing"
        crc32 = None
        if self._contents and history.crc32 is not None:
            crc32 = await self._crc32(uuid, cast("int", chunks))
        return content_damage(history, cast("int", size), crc32)

    async def _crc32(self, uuid: UUID, chunks: int) -> int:
        crc32 = 0
        for n in range(chunks):
            crc32 = zlib.crc32(await read_chunk(self._database, uuid, n) or b"", crc32)
        return crc32

    async def repair(self, found: Sequence[DamageFinding]) -> dict[DamageFinding, str]:
        """See ``Verification.repair``. A claim sets a damaged envelope aside."""
        done: dict[DamageFinding, str] = {}
        for finding in found:
            if finding.id is None or finding.stage is None:
                continue
            claim = await self._store.claim(finding.stage, finding.id, due_only=False)
            if claim is not None:  # the right octets are lost: the operator decides
                await claim.release()
                await self._store.hold(finding.id)
            stage = await self._stage(finding.id)
            done[finding] = "left as it is" if stage == finding.stage else f"now {stage or 'gone'}"
        return done
