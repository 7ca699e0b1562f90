"""The view that operators have of messages, and their changes."""

from collections.abc import AsyncIterator, Sequence
from typing import cast
from uuid import UUID

from emailrelay.envelope import Envelope
from emailrelay.journal import AdministratorWish, Entry
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import from_uuid, uuid_of
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.base import Listed
from emailrelay.store.postgres.link.clock import NOW
from emailrelay.store.postgres.link.connections import DatabaseConnection
from emailrelay.store.postgres.link.database import Database
from emailrelay.store.postgres.message import past
from emailrelay.store.postgres.message.row import COLUMNS, Row, lines, read
from emailrelay.store.postgres.message.settling import DELETE
from emailrelay.store.transition import Change

_AT_ONCE = 1000
_OPERATOR = "operator"
"""Note in the history of a message that an operator has taken out."""
_LIST = """
select id, stage, extract(epoch from run_at)::float8, size from emailrelay.message
where stage = any(%(stages)s) and id > %(after)s order by id limit %(most)s
"""
# Ids begin with the time of arrival, and no aggregate compares uuids before PostgreSQL 18.
_FIRST = UUID(int=0)
_DESCRIBE = f"select {COLUMNS} from emailrelay.message m where m.id = %(id)s"
_LOCK = f"""
select {COLUMNS}, m.lease_until is not null and m.lease_until > statement_timestamp()
from emailrelay.message m where m.id = %(id)s for update of m
"""
_ASK = "update emailrelay.message set wish = %(wish)s where id = %(id)s"
# The token moves on, so that a worker whose lease has ended cannot undo this.
_CHANGE = f"""
update emailrelay.message set stage = %(stage)s, journal = journal || %(lines)s, wish = null,
    lease_until = null, lease_token = lease_token + 1,
    run_at = case when %(delay)s::float8 is null then run_at
        else {NOW} + make_interval(secs => %(delay)s::float8) end
where id = %(id)s
"""


async def listing(database: Database, stages: Sequence[Stage]) -> AsyncIterator[Listed]:
    """See ``Store.listing``."""
    after, names = _FIRST, [stage.value for stage in stages]
    while True:
        async with database.connections.lend("list messages") as connection:
            cursor = await connection.execute(
                _LIST, {"stages": names, "after": after, "most": _AT_ONCE}
            )
            rows = await cursor.fetchall()
        for uuid, stage, since, size in rows:
            after = cast("UUID", uuid)
            yield Listed(
                id=from_uuid(after),
                stage=Stage(str(stage)),
                since=cast("float", since),
                size=cast("int", size),
            )
        if len(rows) < _AT_ONCE:
            return


async def read_journal(
    database: Database, message: QueueId
) -> tuple[Stage, Envelope, list[Entry]] | None:
    """See ``Store.journal``."""
    uuid = uuid_of(message)
    if uuid is None:
        return None
    async with (
        database.connections.lend("read a message") as connection,
        connection.cursor(binary=True) as cursor,
    ):
        await cursor.execute(_DESCRIBE.encode(), {"id": uuid})
        found = await cursor.fetchone()
    if found is None:
        return None
    row = read(found)
    return row.stage, row.envelope(), row.entries()


async def wish(database: Database, message: QueueId, wished: AdministratorWish) -> bool:
    """See ``Store.wish``."""
    async with database.connections.transact(f"{wished} {message}") as connection:
        found = await _locked(connection, message)
        if found is None:
            return False
        row, claimed = found
        if claimed:
            await connection.execute(_ASK, {"id": row.uuid, "wish": wished.value})
            return True
        change = transition.after_wish(
            wished, stage=row.stage, history=row.history(), now=database.clock()
        )
        if change is not None:
            await make(database, connection, row, change)
    return True


async def flush(database: Database, message: QueueId) -> bool:
    """See ``Store.flush``."""
    async with database.connections.transact(f"flush {message}") as connection:
        found = await _locked(connection, message)
        if found is None or found[1]:
            return False
        row, _ = found
        change = transition.after_flush(
            stage=row.stage, history=row.history(), now=database.clock()
        )
        if change is None:
            return False
        await make(database, connection, row, change)
    return True


async def _locked(connection: DatabaseConnection, message: QueueId) -> tuple[Row, bool] | None:
    """Lock a message's row; tell whether it is claimed."""
    uuid = uuid_of(message)
    if uuid is None:
        return None
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(_LOCK.encode(), {"id": uuid})
        found = await cursor.fetchone()
    return None if found is None else (read(found[:-1]), bool(found[-1]))


async def make(
    database: Database, connection: DatabaseConnection, row: Row, change: Change
) -> None:
    """Make a change to a message that is locked and not claimed."""
    if change.stage is None:
        for statement in DELETE:
            await connection.execute(statement, {"ids": [row.uuid], "hows": [_OPERATOR]})
        await past.add(database, connection, [past.of_row(row, change, database.clock())])
        return
    await connection.execute(
        _CHANGE.encode(),
        {
            "now": database.clock.parameter,
            "id": row.uuid,
            "stage": change.stage.value,
            "lines": lines(change.entries),
            "delay": None if change.due is None else database.clock.delay(change.due),
        },
    )
    database.ring(change.stage)
