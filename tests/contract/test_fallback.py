"""A database with a fallback takes a message of any size and has it in one place in the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener, SeveralOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import ENVELOPE, PATIENCE, claimed_soon, content_of, listed, put, write

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store import fallback as fallback_module
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.chooser import open_store
from emailrelay.store.postgres.store import PostgresStore

LARGE = [bytes([n]) * CHUNK for n in range(9)]


@asynccontextmanager
async def with_fallback(
    database: PostgresOpener, spool: Path
) -> AsyncGenerator[tuple[Store, DatabaseProxy]]:
    """Open a database behind a proxy, and a fallback."""
    async with DatabaseProxy.before(database.server.directory) as proxy:
        url = database.server.url(database.name, host=str(proxy.directory))
        async with open_store(
            url, report=database.reports.append, fallback=f"spool://{spool}", hands_over=True
        ) as store:
            yield store, proxy


async def put_large(store: Store, proxy: DatabaseProxy, how: str) -> QueueId:
    """Write a large message, while the database goes away at some moment."""
    draft = store.draft(ENVELOPE)
    await write(draft, *LARGE[:6])
    match how:
        case "in the middle":
            proxy.refuses = True
            proxy.cut()
        case "before the commit":
            proxy.lose_before = b"commit"
        case _:
            proxy.lose_answer_to = b"commit"
    await write(draft, *LARGE[6:])
    await draft.commit(Stage.READY)
    await draft.discard()
    return draft.id


@pytest.mark.parametrize("how", ["in the middle", "before the commit", "after the commit"])
async def test_large_message_is_taken_while_the_database_goes_away(
    database: PostgresOpener, tmp_path: Path, how: str
) -> None:
    spool = tmp_path / "spool"
    async with with_fallback(database, spool) as (store, proxy):
        message = await put_large(store, proxy, how)
        proxy.refuses = False
        async with asyncio.timeout(PATIENCE), database() as other:
            await moved(store, message, spool)
            async with await claimed_soon(other, message) as claim:
                assert await content_of(claim) == b"".join(LARGE)
                await claim.settle(Done())
    assert database.run("select count(*) from emailrelay.body") == [(0,)]
    assert database.run("select count(*) from emailrelay.draft") == [(0,)]


@asynccontextmanager
async def list_with_fallback(
    several: SeveralOpener, spool: Path
) -> AsyncGenerator[tuple[Store, list[DatabaseProxy]]]:
    """Open two databases, each behind a proxy, and a fallback."""
    async with AsyncExitStack() as stack:
        proxies = [
            await stack.enter_async_context(DatabaseProxy.before(each.server.directory))
            for each in several.databases
        ]
        place = " ".join(
            each.server.url(each.name, host=str(proxy.directory))
            for each, proxy in zip(several.databases, proxies, strict=True)
        )
        store = open_store(
            place, report=several.reports.append, fallback=f"spool://{spool}", hands_over=True
        )
        yield await stack.enter_async_context(store), proxies


async def test_mail_moves_into_the_databases_of_a_list_that_are_back(
    several: SeveralOpener, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    async with list_with_fallback(several, spool) as (store, proxies):
        for proxy in proxies:
            proxy.refuses = True
            proxy.cut()
        messages = [await put(store) for _ in range(20)]
        proxies[1].refuses = False
        first, second = several.databases
        async with asyncio.timeout(PATIENCE), first() as one, second() as two:
            while not await listed(two, [Stage.READY]):  # noqa: ASYNC110 -- seen by asking
                await asyncio.sleep(0.01)
            assert not await listed(one)
            proxies[0].refuses = False
            while entries(spool):  # noqa: ASYNC110 -- seen by asking
                await asyncio.sleep(0.01)
            there = [*await listed(one), *await listed(two)]
            assert sorted(there) == sorted(messages)


async def test_lost_answer_of_one_of_several_databases(
    several: SeveralOpener, tmp_path: Path
) -> None:
    """The message goes into the spool, and then finds the database that has it already."""
    spool = tmp_path / "spool"
    async with list_with_fallback(several, spool) as (store, proxies):
        for _ in range(4):
            proxies[0].lose_answer_to = proxies[1].lose_answer_to = b"commit"
            message = await put(store)
            async with asyncio.timeout(PATIENCE):
                await moved(store, message, spool)
            async with await claimed_soon(store, message) as claim:
                await claim.settle(Done())
            assert await listed(store) == {}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon for mail that could not be handed over."""
    monkeypatch.setattr(fallback_module, "_PAUSE", 0.05)
    monkeypatch.setattr(fallback_module, "_AFTER_TROUBLE", 0.1)


async def test_large_message_leaves_no_copy(database: PostgresOpener, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    async with with_fallback(database, spool) as (store, _), store.draft(ENVELOPE) as draft:
        await write(draft, *LARGE)
        assert entries(spool / ".new")
        await draft.commit(Stage.READY)
        assert not entries(spool / ".new")


async def test_database_that_was_away_at_the_start_is_told_where_mail_enters_in_the_end(
    database: PostgresOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [StoreError("note", "not now"), StoreError("note", "not now")]
    note = PostgresStore.set_entrance

    async def noting(store: PostgresStore, stage: Stage) -> None:
        if failures:
            raise failures.pop()
        await note(store, stage)

    monkeypatch.setattr(PostgresStore, "set_entrance", noting)
    async with DatabaseProxy.before(database.server.directory) as proxy:
        proxy.refuses = True
        url = database.server.url(database.name, host=str(proxy.directory))
        spool = f"spool://{tmp_path / 'spool'}"
        report = database.reports.append
        async with open_store(url, report=report, fallback=spool, hands_over=True) as store:
            await store.set_entrance(Stage.UNFILTERED)
            proxy.refuses = False
            async with asyncio.timeout(PATIENCE):
                while not database.run("select stage from emailrelay.entrance"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert failures == []


async def moved(store: Store, message: QueueId, spool: Path) -> None:
    """Wait until the message is in the database alone."""
    # In this order: the spool lists it as READY, too.
    while entries(spool) or (await listed(store, [Stage.READY])).keys() != {message}:  # noqa: ASYNC110 -- seen by asking
        await asyncio.sleep(0.01)


def entries(spool: Path) -> list[Path]:
    return list(spool.glob("emailrelay.*"))
