"""A database with a fallback: a message is taken whatever its size, and is in one place in the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import ENVELOPE, PATIENCE, claimed, content_of, listed, write

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.chooser import open_store

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
            async with await claimed(other, message) as claim:
                assert await content_of(claim) == b"".join(LARGE)
                await claim.settle(Done())
    assert database.run("select count(*) from emailrelay.body") == [(0,)]
    assert database.run("select count(*) from emailrelay.draft") == [(0,)]


async def test_large_message_leaves_no_copy(database: PostgresOpener, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    async with with_fallback(database, spool) as (store, _), store.draft(ENVELOPE) as draft:
        await write(draft, *LARGE)
        assert entries(spool / ".new")
        await draft.commit(Stage.READY)
        assert not entries(spool / ".new")


async def moved(store: Store, message: QueueId, spool: Path) -> None:
    """Wait until the message is in the database alone."""
    while (await listed(store, [Stage.READY])).keys() != {message} or entries(spool):  # noqa: ASYNC110 -- seen by asking
        await asyncio.sleep(0.01)


def entries(spool: Path) -> list[Path]:
    return list(spool.glob("emailrelay.*"))
