"""What dead processes leave in a database is removed by those that live."""

import asyncio

from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, claimed, put

from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK


async def _unfinished(database: PostgresOpener) -> None:
    """Write most of a large message, and forget it as a dead process does."""
    async with database() as store:
        draft = store.draft(ENVELOPE)
        draft.write(bytes(3 * CHUNK))
        await draft.drain()


async def test_first_part_of_a_large_message_is_removed_after_its_lease(
    database: PostgresOpener,
) -> None:
    await _unfinished(database)
    async with database():
        assert database.run("select count(*) from emailrelay.body") == [(2,)]
    database.run("update emailrelay.draft set lease_until = clock_timestamp()")
    async with database():
        assert database.run("select count(*) from emailrelay.body") == [(0,)]
        assert database.run("select count(*) from emailrelay.draft") == [(0,)]


async def test_history_has_a_table_for_each_day_to_come_and_none_that_is_over(
    database: PostgresOpener,
) -> None:
    day = 86400.0
    now = 1_800_000_000.0
    for later in range(12):
        async with database(lambda: now + later * day) as store:  # noqa: B023 - used at once
            await store.entrance()
    found = database.run(
        "select relname from pg_class where relname ~ '^history_[0-9]{8}$' order by relname"
    )
    assert len(found) == 10  # seven kept, today's, and two ahead


async def test_messages_that_left_are_noted_for_receivers_that_ask(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        messages = await asyncio.gather(*(put(store) for _ in range(3)))
        for message in messages:
            async with await claimed(store, message, Stage.READY) as claim:
                await claim.settle(Done())
    assert database.run("select count(*) from emailrelay.history") == [(3,)]
    assert database.run("select count(*) from emailrelay.body") == [(0,)]
