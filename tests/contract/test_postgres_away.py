"""The database goes away and comes back: nothing is lost, nothing comes twice, and all recover."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.database_cut import back, cut_off
from tests.contract.mail import (
    ENVELOPE,
    PATIENCE,
    claimed,
    content_of,
    listed,
    next_of,
    put,
    stages,
)

from emailrelay.errors import StoreError
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK


async def test_lost_answer_to_a_commit_is_asked_for_again(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        proxy.lose_answer_to = b"commit"
        message = await put(store, b"once")
        assert proxy.lost.is_set()
        assert await stages(other) == {message: Stage.READY}
        async with await claimed(other, message) as claim:
            assert await content_of(claim) == b"once"


async def test_commit_that_did_not_arrive_is_made_again(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        proxy.lose_before = b"commit"
        message = await put(store, b"once")
        assert proxy.lost.is_set()
        assert await stages(other) == {message: Stage.READY}


async def test_message_delivered_before_its_commit_was_known_does_not_come_back(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        proxy.lose_answer_to = b"commit"
        committing = asyncio.create_task(put(store))
        async with asyncio.timeout(PATIENCE):
            await proxy.lost.wait()
            proxy.refuses = True
            async with other.feed(Stage.READY) as feed, await next_of(feed) as claim:
                await claim.settle(Done())
            proxy.refuses = False
            assert await committing == claim.id
        assert await listed(other) == {}
        assert database.run("select count(*) from emailrelay.body") == [(0,)]


async def test_lost_answer_to_the_commit_of_a_large_message(database: PostgresOpener) -> None:
    content = bytes(5 * CHUNK)
    async with cut_off(database) as (store, proxy), database() as other:
        draft = store.draft(ENVELOPE)
        for _ in range(5):
            if not draft.write(bytes(CHUNK)):
                await draft.drain()
        proxy.lose_answer_to = b"commit"
        await draft.commit(Stage.READY)
        assert proxy.lost.is_set()
        async with await claimed(other, draft.id) as claim:
            assert await content_of(claim) == content
        assert database.run("select count(*) from emailrelay.draft") == [(0,)]


async def test_lost_answer_to_a_settlement_counts(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        claim = await claimed(store, await put(other))
        proxy.lose_answer_to = b"commit"
        await claim.settle(Done())
        assert proxy.lost.is_set()
        assert await listed(other) == {}


async def test_settlement_that_did_not_arrive_is_made_again(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        claim = await claimed(store, await put(other))
        proxy.lose_before = b"commit"
        await claim.settle(Done())
        assert proxy.lost.is_set()
        assert await listed(other) == {}


async def test_draft_is_refused_at_once_while_the_database_is_away(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy):
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(StoreError):
            await put(store)
        with pytest.raises(StoreError):
            store.draft(ENVELOPE)
        proxy.refuses = False
        await back(store)
        await put(store)
        assert database.kinds().count("StoreTrouble") == 1


@pytest.mark.parametrize("how", ["refuses", "silent"])
async def test_idle_store_notices_that_the_database_is_away(
    database: PostgresOpener, how: str
) -> None:
    async with cut_off(database) as (store, proxy):
        assert store.unavailable() is None
        setattr(proxy, how, True)
        if how == "refuses":
            proxy.cut()
        async with asyncio.timeout(PATIENCE):
            while store.unavailable() is None:  # noqa: ASYNC110 -- it is seen by asking
                await asyncio.sleep(0.01)
        setattr(proxy, how, False)
        proxy.cut()
        await back(store)
        assert store.unavailable() is None


async def test_waiting_feed_outlives_the_database(database: PostgresOpener) -> None:
    async with (
        cut_off(database) as (store, proxy),
        database() as other,
        store.feed(Stage.READY) as feed,
    ):
        waiting = asyncio.create_task(next_of(feed))
        await asyncio.sleep(0)
        proxy.refuses = True
        proxy.cut()
        message = await put(other)
        proxy.refuses = False
        async with await waiting as claim:
            assert claim.id == message


async def test_connections_ended_by_the_server_are_replaced(database: PostgresOpener) -> None:
    async with database() as store:
        await put(store)
        database.run(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await put(store)
        assert len(await listed(store)) == 2
        assert "StoreTrouble" not in database.kinds()
