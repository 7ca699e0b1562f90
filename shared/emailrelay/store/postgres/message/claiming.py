"""Claiming: due rows get a lease, and what was decided about them meanwhile is done first."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast
from uuid import UUID

from emailrelay import envelope_format, journal
from emailrelay.ack import Ack
from emailrelay.envelope import NULL_SENDER, Envelope
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.store import PossibleDuplicate, SetAside
from emailrelay.journal import Doubted, Entry, History
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import from_uuid
from emailrelay.reply import Reply
from emailrelay.settlement import Done, Fail
from emailrelay.stage import Stage
from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message.row import COLUMNS, Row, lines, read
from emailrelay.store.postgres.message.settling import Ending, Given, LeaseEnded, Settler

_SMALL = 64 * 1024
"""Octets of a content that comes with its claim."""
_WORKED_ON = (Stage.UNFILTERED, Stage.READY)
_RUN_AT = 8
"""The place of ``run_at`` in ``COLUMNS``, whose first is the id."""
_FREE = "(m.lease_until is null or m.lease_until <= statement_timestamp())"
_LEASE = f"""
update emailrelay.message m set lease_token = m.lease_token + 1, lease_holder = %(holder)s,
    lease_until = statement_timestamp() + make_interval(secs => %(lease)s)
from due where m.id = due.id returning {COLUMNS},
    (select a.ack from emailrelay.awaited a
        where a.id = m.id and a.reply is null and a.wait_until > statement_timestamp()),
    (select b.octets from emailrelay.body b
        where b.message = m.id and b.n = 0 and m.size <= %(small)s),
    (select sum(length(b.octets))::bigint from emailrelay.body b
        where b.message = m.id and m.size > %(small)s)
"""
_DUE = f"""
with due as materialized (
    select m.id from emailrelay.message m
    where m.stage = %(stage)s and m.run_at <= {NOW} and {_FREE}
    and m.id <> all(%(left_alone)s::uuid[])
    order by m.run_at, m.id limit %(most)s for update skip locked
) {_LEASE}
"""
_ONE = f"""
with due as materialized (
    select m.id from emailrelay.message m
    where m.id = %(id)s and m.stage = %(stage)s and {_FREE}
    and (not %(due_only)s or m.run_at <= {NOW}) for update skip locked
) {_LEASE}
"""
_DOUBTED = """
update emailrelay.message set doubt = null, journal = journal || %(lines)s
where id = %(id)s and lease_token = %(token)s
"""


class TakenMessage(NamedTuple):
    """A message with a lease, read and judged."""

    row: Row
    envelope: Envelope
    history: History
    entries: Sequence[Entry]
    ack: Ack
    content: bytes | None
    """A small message's whole content; None: it is to be read in chunks."""
    size: int
    """Octets of content that are there."""


class _Leased(NamedTuple):
    """A message with a lease, as the database has it."""

    row: Row
    waits: Ack
    content: bytes | None
    size: int

    def damage(self, history: History) -> str | None:
        """Return what is wrong with the content of a message to be worked on; None: nothing."""
        size = self.row.size
        if self.size == size or self.row.stage not in _WORKED_ON:
            return None
        if not self.size:
            return "content: missing"
        if history.released:  # the operator wants it sent as it is
            return None
        return f"content: {self.size} octets, {size} were accepted"


class Claimer:
    """Takes leases for one process."""

    def __init__(self, database: Database, settler: Settler) -> None:
        self._database, self._settler = database, settler

    async def due(self, stage: Stage, most: int) -> list[TakenMessage]:
        """Claim up to ``most`` messages that are due, oldest first.

        One that cannot be read is reported, and free again when its lease ends.

        Raises:
            StoreError: the database cannot be asked now.

        """
        left_alone = self._database.left_alone()
        parameters = {"stage": stage.value, "most": most, "left_alone": left_alone}
        judged = [await self._try_to_judge(found) for found in await self._lease(_DUE, parameters)]
        return [taken for taken in judged if taken is not None]

    async def one(self, stage: Stage, message: UUID, *, due_only: bool) -> TakenMessage | None:
        """Claim one message. None: gone, at another stage, claimed by another, or not due."""
        parameters = {"stage": stage.value, "id": message, "due_only": due_only}
        for found in await self._lease(_ONE, parameters):
            return await self._judge(_leased(found))
        return None

    async def _lease(self, statement: str, given: Mapping[str, object]) -> list[tuple[object, ...]]:
        database = self._database
        parameters = {
            **given,
            "now": database.clock.parameter,
            "holder": str(database.process),
            "lease": database.connections.place.lease,
            "small": _SMALL,
        }
        async with (
            database.connections.lend("claim messages") as connection,
            connection.cursor(binary=True) as cursor,
        ):
            await cursor.execute(statement.encode(), parameters)
            return sorted(await cursor.fetchall(), key=_age)

    async def _try_to_judge(self, found: Sequence[object]) -> TakenMessage | None:
        try:
            return await self._judge(_leased(found))
        except StoreError as error:
            self._database.refused(f"claim {_id(found)}", error)
        except ValueError as error:  # a value of a later release
            self._database.trouble(f"claim {_id(found)}", error)
        return None

    async def _judge(self, leased: _Leased) -> TakenMessage | None:
        row, waits = leased.row, leased.waits
        try:
            envelope = row.envelope()
        except DamagedMessage as error:
            await self._set_aside(row, str(error))
            return None
        entries = row.entries()
        if row.doubt is not None:
            entries.append(await self._name_duplicate(row, row.doubt))
        history = journal.read(entries)
        if row.wish is not None:
            await self._end(row, envelope, entries, Given.BACK)
            return None
        if history.ack is Ack.DELIVERED and waits is Ack.STORED:
            await self._end(row, envelope, entries, Done(end=MessageEnd.WITHDRAWN))
            self._database.report(Withdrawn(id=row.id))
            return None
        damage = leased.damage(history)
        if damage is not None:
            await self._set_aside(row, damage)
            return None
        ack = waits.at(row.stage)
        return TakenMessage(row, envelope, history, entries, ack, leased.content, leased.size)

    async def _set_aside(self, row: Row, reason: str) -> None:
        damage = Reply.of(550, f"5.6.0 damaged in the database: {reason}")
        envelope = envelope_format.salvage(row.head) or Envelope(NULL_SENDER)
        if row.stage is Stage.FAILED:
            await self._end(row, envelope, row.entries(), Given.BACK)
            return
        await self._end(row, envelope, row.entries(), Fail(damage))
        self._database.report(SetAside(id=row.id, reason=reason))

    async def _name_duplicate(self, row: Row, peer: str) -> Doubted:
        """Name a message whose last claim ended with the final dot on its way."""
        doubted = Doubted(at=self._database.clock(), peer=peer)
        async with self._database.connections.lend("note a doubt") as connection:
            await connection.execute(
                _DOUBTED, {"id": row.uuid, "token": row.token, "lines": lines([doubted])}
            )
        self._database.report(PossibleDuplicate(id=row.id, peer=peer))
        return doubted

    async def _end(
        self,
        row: Row,
        envelope: Envelope,
        entries: Sequence[Entry],
        settlement: Done | Fail | Given,
    ) -> None:
        ending = Ending(
            id=row.uuid,
            token=row.token,
            stage=row.stage,
            history=journal.read(entries),
            envelope=envelope,
            entries=entries,
            size=row.size,
            ack=Ack.STORED,
            settlement=settlement,
        )
        try:
            await self._settler.settle(ending)
        except LeaseEnded:
            return  # another process has seen to it


def _leased(found: Sequence[object]) -> _Leased:
    *columns, ack, octets, large = found
    waits = Ack.STORED if ack is None else Ack(str(ack))
    content = cast("bytes | None", octets)
    size = cast("int | None", large) if content is None else len(content)
    return _Leased(read(columns), waits, content, size or 0)


def _age(found: Sequence[object]) -> tuple[float, UUID]:
    return cast("float", found[_RUN_AT]), cast("UUID", found[0])


def _id(found: Sequence[object]) -> QueueId:
    return from_uuid(cast("UUID", found[0]))
