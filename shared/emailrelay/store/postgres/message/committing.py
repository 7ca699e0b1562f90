"""New messages become durable: many drafts, one transaction.

A commit whose answer is lost is made again under the same ids. The ids decide: a row that is there
already, or was and is finished, is not made twice. A lost commit may also arrive late, from the
buffers of a network that works again: so each commit looks into the history.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from emailrelay.ack import Ack
from emailrelay.errors import RelayError, StoreError
from emailrelay.events.store import PossibleDuplicate
from emailrelay.queue_uuid import from_uuid
from emailrelay.stage import Stage
from emailrelay.store.postgres.link.batch import Batch
from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.link.connections import DatabaseConnection, pauses
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.link.trouble import Lost

MOST_OCTETS = 4 * 1024 * 1024
"""Octets of content in one transaction."""
_OVERHEAD = 4096
PATIENCE = 60.0
"""Seconds for which the fate of a commit is asked for, once its answer was lost."""
WAIT = 30.0
"""Seconds after which a client's wait ends that its receiver has not renewed."""

# The columns are not null: if a message has or had the id, the transaction fails.
_FIRST = f"""
insert into emailrelay.message (id, stage, run_at, size, crc32, envelope, journal)
select d.id, case when exists (select 1 from emailrelay.history h
    where h.id = d.id and h.ended_at > statement_timestamp() - interval '1 hour')
    then null else d.stage end, {NOW}, d.size, d.crc32, d.envelope, d.journal
from unnest(%(ids)s::uuid[], %(stages)s::text[], %(sizes)s::bigint[], %(crcs)s::bigint[],
    %(heads)s::bytea[], %(journals)s::bytea[]) as d (id, stage, size, crc32, envelope, journal)
"""
_MESSAGES = f"""
insert into emailrelay.message (id, stage, run_at, size, crc32, envelope, journal)
select d.id, d.stage, {NOW}, d.size, d.crc32, d.envelope, d.journal
from unnest(%(ids)s::uuid[], %(stages)s::text[], %(sizes)s::bigint[], %(crcs)s::bigint[],
    %(heads)s::bytea[], %(journals)s::bytea[]) as d (id, stage, size, crc32, envelope, journal)
where not exists (select 1 from emailrelay.history h
    where h.id = d.id and h.ended_at > statement_timestamp() - interval '1 hour')
on conflict (id) do nothing
"""
_BODIES = """
insert into emailrelay.body (message, n, octets)
select * from unnest(%(messages)s::uuid[], %(ns)s::integer[], %(octets)s::bytea[])
on conflict (message, n) do nothing
"""
_AWAITED = """
insert into emailrelay.awaited (id, ack, wait_until)
select d.id, d.ack, statement_timestamp() + make_interval(secs => %(wait)s)
from unnest(%(ids)s::uuid[], %(acks)s::text[]) as d (id, ack)
on conflict (id) do nothing
"""
_FINISHED = """
delete from emailrelay.message where id = any(%(ids)s)
and exists (select 1 from emailrelay.history h where h.id = message.id)
"""
_ORPHANS = """
delete from emailrelay.body where message = any(%(ids)s)
and not exists (select 1 from emailrelay.message m where m.id = body.message)
"""
# A message that was never claimed is the client's again: it was told so.
_TAKE_BACK = "delete from emailrelay.message where id = %(id)s and lease_token = 0"
_KNOWN = """
select exists (select 1 from emailrelay.message where id = %(id)s)
    or exists (select 1 from emailrelay.history where id = %(id)s)
"""
_TAKEN_BACK = """
insert into emailrelay.history (id, ended_at, how)
values (%(id)s, statement_timestamp(), 'taken back')
"""
# The lock is a write: a row that a crash has left on this server may not be on its standby yet. A
# commit without a write would not wait for that.
_THERE = "select id from emailrelay.message where id = any(%(ids)s) for update"
_DRAFTED = "delete from emailrelay.draft where id = any(%(ids)s)"
_SHORT = """
select m.id from emailrelay.message m where m.id = any(%(ids)s) and m.size <>
    (select coalesce(sum(length(b.octets)), 0) from emailrelay.body b where b.message = m.id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A complete message to insert."""

    id: UUID
    stage: Stage
    ack: Ack
    size: int
    crc32: int
    head: bytes
    journal: bytes
    chunks: Sequence[tuple[int, bytes]]
    """The chunks of content that are not in the database yet, with their numbers."""
    spilled: bool = False
    """Earlier chunks are in the database, under a draft's lease."""

    @property
    def weight(self) -> int:
        """Return the octets that it adds to a transaction."""
        return _OVERHEAD + sum(len(chunk) for _, chunk in self.chunks)


class Committer:
    """The commits of one process, one transaction after the other."""

    def __init__(self, database: Database, *, waits: bool = True) -> None:
        """Use ``database``. A commit whose answer is lost lasts until its fate is known.

        Without ``waits``, that of a message for which no client waits fails at once: the caller
        puts the message elsewhere under the same id, or calls ``take_back``.
        """
        self._database, self._waits = database, waits
        self._batch: Batch[NewMessage, None] = Batch(
            self._commit, most=MOST_OCTETS, weight=lambda message: message.weight
        )
        self._asked: Batch[NewMessage, None] = Batch(
            self._commit_again, most=MOST_OCTETS, weight=lambda message: message.weight
        )
        self._unknown: dict[UUID, asyncio.Task[None] | None] = {}
        """Messages whose fate is not known, and the tasks that take them back."""

    async def commit(self, message: NewMessage) -> None:
        """Make a message durable.

        Raises:
            AnswerLost: it may be committed (without ``waits``).
            StoreError: it is not committed.

        """
        try:
            await self._batch.do(message)
        except AnswerLost:
            if not self._waits and message.ack is Ack.STORED:
                raise
            await self._settle_fate(message)
        self._database.ring(message.stage)

    async def close(self) -> None:
        """Finish the commits under way; name those whose fate stays unknown."""
        await self._batch.close()
        await self._asked.close()
        tasks = [task for task in self._unknown.values() if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for message in self._unknown:
            self._name_duplicate(message)
        self._unknown.clear()

    def _name_duplicate(self, message: UUID) -> None:
        """Report a message that may be in the database although its client sends it again."""
        self._database.report(PossibleDuplicate(id=from_uuid(message), peer="unknown"))

    async def _commit(self, messages: Sequence[NewMessage]) -> Sequence[None]:
        await self._once(messages, again=False)
        return [None] * len(messages)

    async def _commit_again(self, messages: Sequence[NewMessage]) -> Sequence[None]:
        await self._once(messages, again=True)
        return [None] * len(messages)

    async def _settle_fate(self, message: NewMessage) -> None:
        """Make the commit again until its fate is known; the client waits for that long."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        self._unknown[message.id] = None
        for pause in pauses():
            try:
                await self._asked.do(message)
            except RelayError as error:  # the first commit may have been made all the same
                if loop.time() >= end:
                    doing = f"commit {from_uuid(message.id)}"
                    self._database.trouble(doing, f"its fate is unknown: {error}")
                    self.take_back(message.id)
                    raise
            else:
                self._unknown.pop(message.id, None)
                return
            await asyncio.sleep(pause)

    def take_back(self, message: UUID) -> None:
        """Remove a message of unknown fate, once the database answers: its client was refused."""
        self._unknown[message] = asyncio.create_task(self._take_back(message))

    async def _take_back(self, message: UUID) -> None:
        """Remove a message whose client was told that it is not committed, if it is after all."""
        given = {"id": message}
        for pause in pauses():
            try:
                async with self._database.connections.transact("take a message back") as lent:
                    await lent.execute(_TAKE_BACK, given)
                    await lent.execute(_ORPHANS, {"ids": [message]})
                    known = await lent.execute(_KNOWN, given)
                    there = await known.fetchone() == (True,)
                    if not there:  # nor may it come late
                        await lent.execute(_TAKEN_BACK, given)
            except RelayError:
                await asyncio.sleep(pause)
                continue
            self._unknown.pop(message, None)
            if there:
                self._name_duplicate(message)
            return

    async def _once(self, messages: Sequence[NewMessage], *, again: bool) -> None:
        committing = False
        try:
            async with self._database.connections.transact("commit a message") as connection:
                parameter = self._database.clock.parameter
                await insert(connection, messages, parameter, again=again, first=not again)
                if again or any(message.spilled for message in messages):
                    await _check(connection, messages, again=again)
                committing = True
        except Lost as error:
            if committing:
                raise AnswerLost("commit a message", str(error)) from error
            raise


class AnswerLost(Lost):
    """The connection broke between COMMIT and its answer."""


async def insert(
    connection: DatabaseConnection,
    messages: Sequence[NewMessage],
    now: float | None,
    *,
    again: bool = False,
    first: bool = False,
) -> None:
    """Insert complete messages; those that are there already (``again``) stay as they are.

    Raises:
        IdTaken: (``first``) another message has one of the ids, or had it and has left.

    """
    if again:
        there = await connection.execute(_THERE, {"ids": [message.id for message in messages]})
        known = {found for (found,) in await there.fetchall()}
        messages = [message for message in messages if message.id not in known]
        if not messages:
            return
    ids = [message.id for message in messages]
    await connection.execute(
        _FIRST if first else _MESSAGES,
        {
            "now": now,
            "ids": ids,
            "stages": [message.stage.value for message in messages],
            "sizes": [message.size for message in messages],
            "crcs": [message.crc32 for message in messages],
            "heads": [message.head for message in messages],
            "journals": [message.journal for message in messages],
        },
    )
    chunks = [(message.id, n, octets) for message in messages for n, octets in message.chunks]
    if chunks:
        await insert_chunks(connection, chunks)
    awaited = [message for message in messages if message.ack is not Ack.STORED]
    if awaited:
        await connection.execute(
            _AWAITED,
            {
                "wait": WAIT,
                "ids": [message.id for message in awaited],
                "acks": [message.ack.value for message in awaited],
            },
        )


async def insert_chunks(
    connection: DatabaseConnection, chunks: Sequence[tuple[UUID, int, bytes]]
) -> None:
    """Insert chunks of content: message, number, octets."""
    ids, ns, octets = zip(*chunks, strict=True)
    parameters: dict[str, Any] = {"messages": list(ids), "ns": list(ns), "octets": list(octets)}
    await connection.execute(_BODIES, parameters)


async def _check(
    connection: DatabaseConnection, messages: Sequence[NewMessage], *, again: bool
) -> None:
    """Look, within the transaction, at what an earlier one or a sweep has done meanwhile."""
    if again:  # committed, claimed and finished while we asked: it must not come back
        ids = [message.id for message in messages]
        await connection.execute(_FINISHED, {"ids": ids})
        await connection.execute(_ORPHANS, {"ids": ids})
    spilled = [message.id for message in messages if message.spilled]
    if spilled:
        await connection.execute(_DRAFTED, {"ids": spilled})
        short = await connection.execute(_SHORT, {"ids": spilled})
        if await short.fetchone() is not None:
            raise StoreError("commit a message", "it took too long: its first part was removed")
