"""The ends of claims: many settlements in one transaction, each fenced by its lease's token.

The transaction locks the rows that still belong to their claims, reads what operators have wished
meanwhile, and makes the changes. A settlement whose answer was lost is made again: the row, or the
history, tells by the token that it was made, and not that of another claim.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias, cast
from uuid import UUID

from emailrelay import journal
from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.events.store import PossibleDuplicate
from emailrelay.history_record import PastMessage, past
from emailrelay.journal import AdministratorWish, Answered, Attempt, Entry, History
from emailrelay.message_end import MessageEnd
from emailrelay.queue_uuid import from_uuid
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.postgres.link.batch import Batch
from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.link.trouble import Final
from emailrelay.store.postgres.message import committing
from emailrelay.store.postgres.message.past import add
from emailrelay.store.postgres.message.row import lines, wish_of
from emailrelay.store.postgres.message.upload import move
from emailrelay.store.transition import Change

_LOCK = """
select m.id, m.lease_token, m.wish from emailrelay.message m
join unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as d (id, token)
on m.id = d.id and m.lease_token = d.token
where m.lease_until is not null order by m.id for update of m
"""
_ENDED = """
select d.id, d.token from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as d (id, token)
where exists (select 1 from emailrelay.message m where m.id = d.id and m.settled_token = d.token)
or exists (select 1 from emailrelay.history h where h.id = d.id and h.how = d.token::text)
"""
# A transaction that writes waits for the standby at its commit, and so for earlier writes too.
WRITE = "update emailrelay.clock_mark set latest = latest"
"""A write that changes nothing."""
_CHANGE = f"""
update emailrelay.message m set
    stage = d.stage, journal = m.journal || d.lines, attempts = m.attempts + d.attempts,
    run_at = case when d.delay is null then m.run_at
        else {NOW} + make_interval(secs => d.delay) end,
    lease_until = null, lease_holder = '', wish = null, settled_token = m.lease_token,
    doubt = case when d.settled then null else m.doubt end
from unnest(%(ids)s::uuid[], %(stages)s::text[], %(lines)s::bytea[], %(attempts)s::integer[],
    %(delays)s::float8[], %(settled)s::boolean[]) as d (id, stage, lines, attempts, delay, settled)
where m.id = d.id
"""
_REPLACE = """
update emailrelay.message set size = %(size)s, crc32 = %(crc32)s, envelope = %(head)s
where id = %(id)s
"""
DELETE = (
    "delete from emailrelay.message where id = any(%(ids)s)",
    "delete from emailrelay.body where message = any(%(ids)s)",
    """
    insert into emailrelay.history (id, ended_at, how)
    select id, statement_timestamp(), how
    from unnest(%(ids)s::uuid[], %(hows)s::text[]) as d (id, how)
    """,
)
"""Takes messages out, and notes that they have been here, and whose lease has ended them."""
_ANSWER = """
update emailrelay.awaited a set reply = d.reply
from unnest(%(ids)s::uuid[], %(replies)s::text[]) as d (id, reply)
where a.id = d.id and a.reply is null and a.wait_until > statement_timestamp() returning a.id
"""


_Lease: TypeAlias = tuple[UUID, int]
"""A message, and the token of the claim on it."""


class Given(Enum):
    """The claim was given back unsettled."""

    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What filters made of a message: it replaces the message."""

    head: bytes
    size: int
    crc32: int
    chunks: Sequence[tuple[int, bytes]]
    """The chunks of content that are not in the database, with their numbers."""
    upload: UUID
    """Has the chunks before them."""
    saved: int
    """How many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterPass:
    """A Pass: the content's length and CRC-32, and what replaces the message, if anything."""

    size: int
    crc32: int
    passed: Pass
    adopted: Adopted | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one claim ends."""

    id: UUID
    token: int
    stage: Stage
    history: History
    envelope: Envelope
    entries: Sequence[Entry]
    size: int
    ack: Ack
    settlement: Defer | Done | Fail | Hold | FilterPass | Given
    answer: Reply | None = None
    peer: str = ""
    """The server to which a final dot was sent in this claim."""

    @property
    def lease(self) -> _Lease:
        """Return what names the claim: two of one message may end in one transaction."""
        return self.id, self.token

    @property
    def weight(self) -> int:
        """Return the octets that it adds to a transaction."""
        adopted = self.settlement.adopted if isinstance(self.settlement, FilterPass) else None
        return 4096 + (0 if adopted is None else sum(len(octets) for _, octets in adopted.chunks))

    def past(self, change: Change, now: float) -> PastMessage:
        """Return the message's record in the history, after the change by which it leaves."""
        entries = (*self.entries, *change.entries)
        message = from_uuid(self.id)
        return past(message, self.envelope, entries, now=now, end=change.end, size=self.size)


class LeaseEnded(Final):
    """The claim ended before its settlement: another process may have the message."""


class Settler:
    """The settlements of one process, one transaction after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        # A delivery that was made must be recorded, however long the database is unavailable.
        self._batch: Batch[Ending, bool] = Batch(
            self._settle,
            most=committing.MOST_OCTETS,
            weight=lambda ending: ending.weight,
            stays=lambda ending: ending.settlement is not Given.BACK,
            tell=lambda error: database.trouble("settle a message", error),
        )

    async def settle(self, ending: Ending) -> bool:
        """End a claim; return whether the client that waits has heard the answer.

        It lasts until the database has recorded it, or has given the message to another process.
        Cancelling the call does not end the settlement. A claim is not given back so patiently.

        Raises:
            LeaseEnded: another process may have the message.
            StoreError: a new content came too slowly, or the store is closed before.

        """
        done = self._batch.put(ending)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            done.add_done_callback(lambda done: self._unheard(ending, done))
            raise

    def _unheard(self, ending: Ending, done: asyncio.Future[bool]) -> None:
        """Name a possible duplicate whose task was cancelled, and cannot name it."""
        if ending.peer and ending.settlement is not Given.BACK and done.exception() is not None:
            self._database.report(PossibleDuplicate(id=from_uuid(ending.id), peer=ending.peer))

    async def close(self) -> None:
        """Finish the settlements under way, in a few seconds."""
        await self._batch.close()

    async def _settle(self, endings: Sequence[Ending]) -> Sequence[bool]:
        async with self._database.connections.transact("settle a message") as connection:
            results, rings = await self._make(connection, endings)
        for stage in rings:
            self._database.ring(stage)
        return results

    async def _make(
        self, connection: DatabaseConnection, endings: Sequence[Ending]
    ) -> tuple[list[bool], set[Stage]]:
        wishes = await _lock(connection, endings)
        ours = [ending for ending in endings if ending.lease in wishes]
        if len(ours) < len(endings):
            await _must_have_ended(connection, [e for e in endings if e.lease not in wishes])
        heard = await _answer(connection, ours)
        now = self._database.clock()
        changes = [
            (ending, _change(ending, wishes[ending.lease], now=now, heard=ending.id in heard))
            for ending in ours
        ]
        await self._write(connection, changes)
        rings = {change.stage for _, change in changes if change.stage is not None}
        results = [
            not _too_late(ending, heard=ending.id in heard or ending.lease not in wishes)
            for ending in endings
        ]
        return results, rings

    async def _write(
        self, connection: DatabaseConnection, changes: Sequence[tuple[Ending, Change]]
    ) -> None:
        going = [ending for ending, change in changes if change.stage is None]
        staying = [(ending, change) for ending, change in changes if change.stage is not None]
        if going:
            ids, hows = [each.id for each in going], [str(each.token) for each in going]
            for statement in DELETE:
                await connection.execute(statement, {"ids": ids, "hows": hows})
            await add(self._database, connection, _records(changes, self._database.clock()))
        if staying:
            await self._write_changes(connection, staying)
        for ending, _ in staying:
            if isinstance(ending.settlement, FilterPass) and ending.settlement.adopted is not None:
                await _replace(connection, ending.id, ending.settlement.adopted)

    async def _write_changes(
        self, connection: DatabaseConnection, changes: Sequence[tuple[Ending, Change]]
    ) -> None:
        clock = self._database.clock
        await connection.execute(
            _CHANGE,
            {
                "now": clock.parameter,
                "ids": [ending.id for ending, _ in changes],
                "stages": [str(change.stage) for _, change in changes],
                "lines": [lines(change.entries) for _, change in changes],
                "attempts": [_attempts(change.entries) for _, change in changes],
                "settled": [ending.settlement is not Given.BACK for ending, _ in changes],
                "delays": [
                    None if change.due is None else clock.delay(change.due) for _, change in changes
                ],
            },
        )


def _records(changes: Sequence[tuple[Ending, Change]], now: float) -> list[PastMessage]:
    return [ending.past(change, now) for ending, change in changes if change.stage is None]


async def _lock(
    connection: DatabaseConnection, endings: Sequence[Ending]
) -> Mapping[_Lease, AdministratorWish | None]:
    """Lock the rows that still belong to their claims; return the operator's wish for each."""
    cursor = await connection.execute(_LOCK, _fenced(endings))
    return {
        (cast("UUID", found), cast("int", token)): wish_of(wish)
        for found, token, wish in await cursor.fetchall()
    }


async def _must_have_ended(connection: DatabaseConnection, endings: Sequence[Ending]) -> None:
    """Make sure that these were settled before, by a transaction whose answer was lost.

    Raises:
        LeaseEnded: one was not.

    """
    cursor = await connection.execute(_ENDED, _fenced(endings))
    ended = set(await cursor.fetchall())
    if ended:
        await connection.execute(WRITE)
    if any(ending.lease not in ended and ending.settlement is not Given.BACK for ending in endings):
        raise LeaseEnded("settle a message", "its lease ended before; another process may have it")


def _fenced(endings: Sequence[Ending]) -> dict[str, object]:
    return {
        "ids": [ending.id for ending in endings],
        "tokens": [ending.token for ending in endings],
    }


async def _answer(connection: DatabaseConnection, endings: Sequence[Ending]) -> set[UUID]:
    """Answer the clients that wait; return the messages whose client has the answer."""
    answers = [
        (ending.id, str(ending.answer))
        for ending in endings
        if ending.answer is not None and ending.ack is not Ack.STORED
    ]
    if not answers:
        return set()
    ids, replies = map(list, zip(*answers, strict=True))
    cursor = await connection.execute(_ANSWER, {"ids": ids, "replies": replies})
    return {cast("UUID", found) for (found,) in await cursor.fetchall()}


def _change(ending: Ending, wish: AdministratorWish | None, *, now: float, heard: bool) -> Change:
    """Return what becomes of the message; see ``Claim.settle`` for the part of the client."""
    refused = ending.answer is not None and not ending.answer.accepted
    if ending.ack is not Ack.STORED and refused and (heard or ending.ack is Ack.DELIVERED):
        return _refused(ending)  # it is the client's again
    change = _settled(ending, wish, now=now)
    accepted = ending.answer is not None and ending.answer.accepted
    if ending.ack is Ack.STORED or not accepted or change.stage is None:
        return change
    return Change((*change.entries, Answered(at=now)), change.stage, change.due)


def _refused(ending: Ending) -> Change:
    match ending.settlement:
        case Defer() | Done() | Fail() | Hold():
            return transition.after_refusal(ending.settlement)
        case _:
            return transition.gone(MessageEnd.REFUSED)


def _settled(ending: Ending, wish: AdministratorWish | None, *, now: float) -> Change:
    match ending.settlement:
        case Given.BACK:
            back = transition.after_wish(wish, stage=ending.stage, history=ending.history, now=now)
            return back or Change((), ending.stage)
        case FilterPass(size=size, crc32=crc32):
            passed = transition.passed_beside(wish, ending.settlement.passed)
            change = transition.after_filters(
                ending.stage, passed, length=size, crc32=crc32, now=now
            )
            if passed.quarantine is not None:
                return change
            history = journal.read(change.entries, ending.history)
            then = transition.after_wish(wish, stage=Stage.READY, history=history, now=now)
            if then is None or then.stage is None:
                return then or change
            return Change((*change.entries, *then.entries), then.stage, then.due)
        case _:
            return transition.after_settlement(
                ending.settlement, wish, stage=ending.stage, history=ending.history, now=now
            )


def _too_late(ending: Ending, *, heard: bool) -> bool:
    """Return whether a positive answer to DELIVERED mail reached no client."""
    positive = ending.answer is not None and ending.answer.accepted
    return positive and ending.ack is Ack.DELIVERED and not heard


def _attempts(entries: Sequence[Entry]) -> int:
    return sum(entry.tries for entry in entries if isinstance(entry, Attempt))


async def _replace(connection: DatabaseConnection, message: UUID, adopted: Adopted) -> None:
    await connection.execute(
        _REPLACE,
        {"id": message, "size": adopted.size, "crc32": adopted.crc32, "head": adopted.head},
    )
    await connection.execute("delete from emailrelay.body where message = %(id)s", {"id": message})
    if adopted.saved:
        await move(connection, adopted.upload, adopted.saved, message)
    for n, octets in adopted.chunks:
        await committing.insert_chunks(connection, [(message, n, octets)])
