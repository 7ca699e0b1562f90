"""The history in a database: tables of days, and its bounds."""

import contextlib
import datetime as dt
import time

import psycopg
import pytest
from psycopg import sql
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import Clock, put

from emailrelay.errors import StoreError
from emailrelay.history_query import HistoryQuery
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.postgres.store import PostgresStore

WIDE = HistoryBounds(30, 100_000_000)
DAY = 86_400
LONGEST = 60
"""Seconds that a test may take; a test that would see midnight begins after it."""


@pytest.fixture(autouse=True)
def on_one_day() -> None:
    left = DAY - time.time() % DAY
    if left < LONGEST:
        time.sleep(left)


def day(later: int) -> dt.date:
    return dt.datetime.now(dt.UTC).date() + dt.timedelta(days=later)


def tables(database: PostgresOpener) -> list[str]:
    rows = database.run(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " where i.inhparent = 'emailrelay.past_message'::regclass order by c.relname"
    )
    return [str(name) for (name,) in rows]


def name(later: int) -> str:
    return f"past_message_{day(later):%Y%m%d}"


def make_day(database: PostgresOpener, later: int, octets: int = 0) -> None:
    """Make the table of a day, with a record of this size if there is one."""
    database.run(
        sql.SQL(
            "create table emailrelay.{} partition of emailrelay.past_message"
            " for values from ({}) to ({})"
        )
        .format(
            sql.Identifier(name(later)),
            sql.Literal(f"{day(later)} 00:00+00"),
            sql.Literal(f"{day(later + 1)} 00:00+00"),
        )
        .as_string()  # pyright: ignore[reportArgumentType] - a statement of our own
    )
    if octets:
        database.run(
            "insert into emailrelay.past_message select gen_random_uuid(), %s::timestamptz,"
            " string_agg(md5(n::text), '') from generate_series(1, %s) n",
            f"{day(later)} 12:00+00",
            octets // 32,
        )


async def test_days_ahead_have_tables_and_days_that_are_over_go(database: PostgresOpener) -> None:
    async with database() as store:
        await store.history().keep(WIDE)
        for later in (-3, -2, -1):
            make_day(database, later, 1000)
        await store.history().keep(HistoryBounds(2, 10**9))
        assert tables(database) == [
            *(name(later) for later in (-2, -1, 1, 2)),
            "past_message_rest",
        ]


async def test_octets_are_bounded_by_dropping_the_oldest_days(database: PostgresOpener) -> None:
    async with database() as store:
        await store.history().keep(WIDE)
        for later in (-3, -2, -1):
            make_day(database, later, 1_000_000)
        await store.history().keep(HistoryBounds(9, 2_700_000))
        assert name(-3) not in tables(database)
        assert {name(-2), name(-1)} <= set(tables(database))


async def test_history_pauses_until_tomorrow_if_today_is_too_large(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        await store.history().keep(HistoryBounds(9, 1000))
        message = await put(store)
        assert await store.delete(message)
        assert [m async for m in store.history().find(HistoryQuery(id=message))] == []
        assert "it goes on tomorrow" in str(database.reports[-1])
        await store.history().keep(WIDE)
        after = await put(store)
        assert await store.delete(after)
        assert [m.id async for m in store.history().find(HistoryQuery(id=after))] == [after]


async def test_day_of_a_record_is_that_of_the_database_in_utc(database: PostgresOpener) -> None:
    database.alter("timezone", "Pacific/Kiritimati")
    async with database() as store:
        await store.history().keep(WIDE)
        message = await put(store)
        assert await store.delete(message)
        await store.history().keep(WIDE)  # it trims, too
        assert [m.id async for m in store.history().find(HistoryQuery(text="bob"))] == [message]


async def test_user_who_does_not_own_the_tables_keeps_a_history(database: PostgresOpener) -> None:
    database.run("drop role if exists historian")
    database.run("create role historian login")
    database.run("grant usage on schema emailrelay to historian")
    database.run("grant all on all tables in schema emailrelay to historian")
    try:
        url = database.server.url(database.name, user="historian")
        async with PostgresStore(url, report=database.reports.append) as store:
            await store.history().keep(WIDE)
            message = await put(store)
            assert await store.delete(message)
            found = [m.id async for m in store.history().find(HistoryQuery(text="bob"))]
            assert found == [message]
            database.run(
                "update emailrelay.past_message set ended_at = ended_at - interval '40 days'"
            )
            await store.history().keep(WIDE)  # it trims, too
            assert database.run("select id from emailrelay.past_message") == []
    finally:
        database.run("drop owned by historian")
        database.run("drop role historian")


async def test_user_without_rights_on_the_history_delivers_without_it(
    database: PostgresOpener,
) -> None:
    database.run("drop role if exists stranger")
    database.run("create role stranger login")
    database.run("grant usage on schema emailrelay to stranger")
    database.run("grant all on all tables in schema emailrelay to stranger")
    for rights in ("select on emailrelay.history_bounds", "insert on emailrelay.past_message"):
        await without(database, rights)


async def without(database: PostgresOpener, rights: str) -> None:
    """Let a message leave without these rights."""
    statement = sql.SQL("revoke {} from stranger")
    with psycopg.connect(database.server.conninfo(database.name), autocommit=True) as connection:
        connection.execute(statement.format(sql.SQL(rights)))  # pyright: ignore[reportArgumentType]
    url = database.server.url(database.name, user="stranger")
    async with PostgresStore(url, report=database.reports.append) as store:
        with contextlib.suppress(StoreError):
            await store.history().keep(WIDE)
        message = await put(store)
        assert await store.delete(message)
        assert await store.describe(message) is None


async def test_settlement_of_many_messages_writes_their_records_in_its_transaction(
    database: PostgresOpener,
) -> None:
    async with database(Clock()) as store:
        await store.history().keep(WIDE)
        message = await put(store)
        database.run(
            "alter table emailrelay.past_message add constraint no check (false) not valid"
        )
        with pytest.raises(Exception, match="no"):
            await store.delete(message)
        assert await store.describe(message) is not None
        database.run("alter table emailrelay.past_message drop constraint no")
        assert await store.delete(message)
