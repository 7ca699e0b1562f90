"""What dead processes leave in a database is removed by those that live."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, claimed, put

from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.postgres import sweep as sweep_module


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


async def test_first_parts_of_many_messages_are_removed_in_slices(
    database: PostgresOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "_DRAFTS", 1)
    for _ in range(3):
        await _unfinished(database)
    database.run("update emailrelay.draft set lease_until = clock_timestamp()")
    async with database():
        assert database.run("select count(*) from emailrelay.draft") == [(0,)]
        assert database.run("select count(*) from emailrelay.body") == [(0,)]


async def test_content_without_its_draft_is_that_of_a_message(database: PostgresOpener) -> None:
    async with database() as store:
        draft = store.draft(ENVELOPE)
        draft.write(bytes(3 * CHUNK))
        await draft.commit(Stage.READY)
        database.run(
            "insert into emailrelay.draft select id, clock_timestamp() from emailrelay.message"
        )
        async with database():
            assert database.run("select count(*) from emailrelay.draft") == [(0,)]
            assert database.run("select count(*) from emailrelay.body") == [(3,)]


async def _note_old(database: PostgresOpener, count: int) -> None:
    async with database():
        pass
    database.run(
        "insert into emailrelay.history (id, ended_at) select gen_random_uuid(),"
        " clock_timestamp() - make_interval(days => n %% 2 * 9) from generate_series(1, %s) n",
        2 * count,
    )


async def test_old_ids_are_removed_in_slices(
    database: PostgresOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "_SLICE", 2)
    monkeypatch.setattr(sweep_module, "_SLICES", 3)
    await _note_old(database, 8)
    async with database():
        assert database.run("select count(*) from emailrelay.history") == [(10,)]
    async with database():
        assert database.run("select count(*) from emailrelay.history") == [(8,)]


async def test_old_ids_are_found_by_an_index(database: PostgresOpener) -> None:
    await _note_old(database, 10_000)
    database.run("delete from emailrelay.history where ended_at < now() - interval '8 days'")
    database.run("analyze emailrelay.history")
    plan = database.run(
        "explain select ended_at from emailrelay.history where ended_at <"
        " statement_timestamp() - interval '8 days' order by ended_at limit 5000"
    )
    assert "history_rest_ended" in str(plan)


async def test_store_opens_although_it_cannot_be_swept(database: PostgresOpener) -> None:
    await _note_old(database, 1)
    database.run(
        """
        create function emailrelay.refuse() returns trigger language plpgsql as $$ begin
            raise exception 'not now';
        end $$
        """
    )
    database.run(
        "create trigger refuse before delete on emailrelay.history"
        " for each row execute function emailrelay.refuse()"
    )
    async with database() as store:
        await put(store)
    assert "StoreTrouble" in database.kinds()
