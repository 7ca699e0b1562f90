"""With ``notify=yes`` an idle feed hears of new mail, and need not find it by asking."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import next_of, put

from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.postgres.feed import feed as feed_module


@pytest.fixture
def announced(database: PostgresOpener, monkeypatch: pytest.MonkeyPatch) -> PostgresOpener:
    """Give a database whose feeds would find mail by themselves only after the test."""
    monkeypatch.setattr(feed_module, "BUSY", 3600.0)
    monkeypatch.setattr(feed_module, "IDLE", 3600.0)
    database.url = database.server.url(database.name, notify="yes")
    return database


async def test_idle_feed_hears_of_mail(announced: PostgresOpener) -> None:
    async with announced() as store, announced() as other, store.feed(Stage.READY) as feed:
        for _ in range(3):
            waiting = asyncio.create_task(next_of(feed))
            message = await put(other)
            async with await waiting as claim:
                assert claim.id == message
                await claim.settle(Done())


async def test_feed_hears_again_after_its_connection_broke(announced: PostgresOpener) -> None:
    async with announced() as store, announced() as other, store.feed(Stage.READY) as feed:
        waiting = asyncio.create_task(next_of(feed))
        await asyncio.sleep(0)
        announced.run(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and query = 'listen emailrelay'"
        )
        message = await put(other)
        async with await waiting as claim:
            assert claim.id == message
