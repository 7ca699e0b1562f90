"""Another transaction is in the way: what it has stopped is made again at once."""

import asyncio

import psycopg
import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, PATIENCE, claimed, listed, put, write

from emailrelay.settlement import Done
from emailrelay.store.base import CHUNK

# The count of a sequence stays when its transaction is taken back.
_CONFLICTS = (
    "create sequence emailrelay.tries",
    """
    create function emailrelay.conflict() returns trigger language plpgsql as $$ begin
        if nextval('emailrelay.tries') <= 2 then
            raise exception 'could not serialize access' using errcode = '40001';
        end if;
        return null;
    end $$
    """,
    """
    create trigger conflict after insert or delete on emailrelay.message
    for each row execute function emailrelay.conflict()
    """,
)


def conflict_twice(database: PostgresOpener) -> None:
    for statement in _CONFLICTS:
        database.run(statement)


async def test_commit(database: PostgresOpener) -> None:
    async with database() as store:
        conflict_twice(database)
        message = await put(store)
        assert list(await listed(store)) == [message]
        assert database.kinds() == []


async def test_settlement(database: PostgresOpener) -> None:
    async with database() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            conflict_twice(database)
            await claim.settle(Done())
        assert await listed(store) == {}
        assert database.kinds() == []


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
async def test_store_works_at_any_isolation(database: PostgresOpener, isolation: str) -> None:
    database.alter("default_transaction_isolation", isolation)
    async with database() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
        assert await listed(store) == {}


# What a commit does before its last statement. It may wait there for a standby.
_COMMIT = (
    """
    insert into emailrelay.message (id, stage, run_at, size, crc32, envelope, journal)
    select id, 'ready', now(), 1, 0, '', '' from emailrelay.draft
    """,
    "delete from emailrelay.draft",
)
_WAITING = "select 1 from pg_locks where not granted"


async def test_discarded_draft_keeps_the_content_of_a_commit_in_progress(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        draft = store.draft(ENVELOPE)
        await write(draft, *[b"x" * CHUNK] * 4)
        with psycopg.connect(database.server.conninfo(database.name)) as committing:
            for statement in _COMMIT:
                committing.execute(statement)
            discarding = asyncio.create_task(draft.discard())
            async with asyncio.timeout(PATIENCE):
                while not (discarding.done() or database.run(_WAITING)):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            committing.commit()
        await discarding
        assert database.run("select sum(length(octets)) from emailrelay.body") == [(4 * CHUNK,)]
        database.run("delete from emailrelay.message")
