"""A feed outlives a database that lacks something or that somebody has changed."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import (
    PATIENCE,
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
