"""A feed outlives a database that lacks something or that somebody has changed."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import (
    PATIENCE,
    claimed,
    listed,
    next_of,
    put,
)

from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store


async def test_feed_outlives_a_database_that_lacks_something(database: PostgresOpener) -> None:
    async with database() as store, store.feed(Stage.READY) as feed:
        database.run("alter table emailrelay.message rename to mislaid")
        waiting = asyncio.create_task(next_of(feed))
        with pytest.raises(StoreError, match="a table is missing"):
            await put(store)
        await told_of_feed(database, "a table is missing")
        database.run("alter table emailrelay.mislaid rename to message")
        message = await put(store)
        async with await waiting as claim:
            assert claim.id == message


async def test_feed_outlives_a_changed_table(database: PostgresOpener) -> None:
    async with database() as store, store.feed(Stage.READY) as feed:
        database.run(f"{_ALTERED} text")
        waiting = asyncio.create_task(next_of(feed))
        await told_of_feed(database, "is not as emailrelay-store made it")
        database.run(f"{_ALTERED} bigint using lease_token::bigint")
        message = await put(store)
        async with await waiting as claim:
            assert claim.id == message


async def test_feed_outlives_a_lost_right(database: PostgresOpener) -> None:
    database.run("create role poor login")
    database.run("grant usage on schema emailrelay to poor")
    database.run("grant all on all tables in schema emailrelay to poor")
    url = database.url.replace("postgres@", "poor@")
    try:
        async with (
            open_store(url, report=database.reports.append) as store,
            store.feed(Stage.READY) as feed,
        ):
            database.run("revoke update on emailrelay.message from poor")
            waiting = asyncio.create_task(next_of(feed))
            await told_of_feed(database, "lacks a right")
            database.run("grant update on emailrelay.message to poor")
            message = await put(store)
            async with await waiting as claim:
                assert claim.id == message
                database.run("revoke update, delete on emailrelay.message from poor")
                settling = asyncio.create_task(claim.settle(Done()))
                await told(database, "settle a message", "lacks a right")
                database.run("grant update, delete on emailrelay.message to poor")
                await settling
            assert await listed(store) == {}
    finally:
        database.run("drop owned by poor")
        database.run("drop role poor")


_ALTERED = "alter table emailrelay.message alter lease_token type"


async def told_of_feed(database: PostgresOpener, reason: str) -> None:
    await told(database, "look for mail", reason)


async def told(database: PostgresOpener, doing: str, reason: str) -> None:
    """Wait until the log has a line about trouble."""
    async with asyncio.timeout(PATIENCE):
        while not any(  # noqa: ASYNC110 -- it is seen in the log
            isinstance(each, StoreTrouble) and each.doing == doing and reason in each.reason
            for each in database.reports
        ):
            await asyncio.sleep(0.01)


async def test_delivery_that_the_database_refuses_is_recorded_when_it_takes_it(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        message = await put(store)
        claim = await claimed(store, message)
        assert await claim.before_dot("smarthost.test:25")
        database.run("alter table emailrelay.history detach partition emailrelay.history_rest")
        settling = asyncio.create_task(claim.settle(Done()))
        async with asyncio.timeout(PATIENCE):
            while not _refusals(database):  # noqa: ASYNC110 -- seen by asking
                await asyncio.sleep(0.01)
        assert await other.claim(Stage.READY, message) is None, "it would be sent again"
        database.run(
            "alter table emailrelay.history attach partition emailrelay.history_rest default"
        )
        await settling
        assert await listed(other) == {}


def _refusals(database: PostgresOpener) -> list[str]:
    return [
        event.reason
        for event in database.reports
        if isinstance(event, StoreTrouble) and event.doing == "settle a message"
    ]
