"""A transaction that keeps its locks, as of a vanished host, stops only what needs them."""

import asyncio
import secrets

import psycopg
import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import Clock, put
from tests.database_server import DatabaseServer

from emailrelay.errors import StoreError
from emailrelay.routes import Rate
from emailrelay.store.postgres.link import connections, place
from emailrelay.store.postgres.link.connections import DatabaseConnections
from emailrelay.store.postgres.link.trouble import Busy, Lost


async def test_store_opens_while_the_mark_of_the_clock_is_locked(database: PostgresOpener) -> None:
    async with database():
        pass
    with psycopg.connect(database.server.conninfo(database.name)) as holder:
        holder.execute("select latest from emailrelay.clock_mark for update")
        async with database() as store:
            await put(store)
    assert database.kinds() == []


async def test_clock_is_marked_by_each_look(database: PostgresOpener) -> None:
    clock = Clock()
    for _ in range(3):
        clock.now += 100.0
        async with database(clock):
            latest = database.run("select extract(epoch from latest) from emailrelay.clock_mark")
            assert [float(str(found)) for (found,) in latest] == [pytest.approx(clock.now)]


async def test_wait_for_a_lock_does_not_count_as_a_database_that_is_away(
    database: PostgresOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOCK_WAIT", "100ms")
    async with database() as store:
        limits = store.limits("isp")
        assert await limits.permit(Rate(1000, 60.0)) == 0.0
        with psycopg.connect(database.server.conninfo(database.name)) as holder:
            holder.execute("select * from emailrelay.rate for update")
            with pytest.raises(Busy):
                await limits.permit(Rate(1000, 60.0))
            assert store.unavailable() is None
        assert await limits.permit(Rate(1000, 60.0)) == 0.0


async def test_server_looks_after_the_peer_of_a_transaction_soon() -> None:
    address = f"127.{secrets.randbelow(254)}.{secrets.randbelow(254)}.{1 + secrets.randbelow(253)}"
    server = DatabaseServer(f"listen_addresses={address}")
    try:
        url = server.url(server.empty(), host=address)
        pool = DatabaseConnections(place.parse(url), lambda _: None)
        async with pool.transact("look") as connection:
            cursor = await connection.execute("select current_setting('tcp_keepalives_idle')")
            assert await cursor.fetchone() == ("5",)
        async with pool.lend("look") as connection:
            cursor = await connection.execute("select current_setting('tcp_keepalives_idle')")
            assert await cursor.fetchone() != ("5",)
        await pool.close()
    finally:
        server.remove()


async def test_who_waits_for_a_connection_does_not_try_a_database_known_to_be_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pool = DatabaseConnections(place.parse("postgresql:///none?connections=2"), lambda _: None)
    tried: list[asyncio.Task[object] | None] = []
    away = asyncio.Event()

    async def connect() -> psycopg.AsyncConnection[tuple[object, ...]]:
        tried.append(asyncio.current_task())
        await away.wait()
        raise Lost("connect", "away")

    monkeypatch.setattr(pool, "connect", connect)

    async def use() -> None:
        async with pool.lend("work"):
            pass

    works = [asyncio.create_task(use()) for _ in range(5)]
    while len(tried) < 2:  # noqa: ASYNC110 -- it is seen by asking
        await asyncio.sleep(0)
    away.set()
    ends = await asyncio.gather(*works, return_exceptions=True)
    assert all(isinstance(end, StoreError) for end in ends)
    assert [work for work in works if work in tried] == works[:2]
    await pool.close()
