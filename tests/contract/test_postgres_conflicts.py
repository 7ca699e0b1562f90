"""Another transaction is in the way: what it has stopped is made again at once."""

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import claimed, listed, put

from emailrelay.settlement import Done

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
