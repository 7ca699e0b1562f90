"""The tables are made by a command, have a version, and are used only if that fits."""

import asyncio
import subprocess
import sys

import psycopg
import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import claimed, content_of, listed, next_of, put
from tests.database_server import the_server

from emailrelay.errors import StoreUnusable
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.postgres.schema import versions
from emailrelay.store.postgres.schema.migrations import LATEST, MIGRATIONS, Migration


async def opened(url: str) -> None:
    async with open_store(url, report=lambda _: None) as store:
        await put(store)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emailrelay.store.postgres", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_store_is_used_after_init_and_not_before() -> None:
    server = the_server()
    name = server.empty()
    url = server.url(name)
    with pytest.raises(StoreUnusable, match="emailrelay-store init"):
        asyncio.run(opened(url))
    before = command("check", "--store", url)
    assert before.returncode == 78
    assert "emailrelay-store init" in before.stderr
    assert command("migrate", "--store", url).returncode == 78
    first = command("init", "--store", url)
    assert (first.returncode, first.stderr) == (0, "")
    asyncio.run(opened(url))
    again = command("init", "--store", url)
    assert again.returncode == 0
    assert "already" in again.stdout
    assert command("migrate", "--store", url).returncode == 0
    after = command("check", "--store", url)
    assert (after.returncode, after.stderr) == (0, "")
    assert "messages: 1 ready" in after.stdout


def test_database_of_another_encoding_is_refused() -> None:
    server = the_server()
    name = server.empty(encoding="SQL_ASCII")
    refused = command("init", "--store", server.url(name))
    assert refused.returncode == 78
    assert "createdb -E UTF8" in refused.stderr


def test_tables_that_only_newer_programs_know_are_refused(database: PostgresOpener) -> None:
    database.run(
        "insert into emailrelay.version (version, title, oldest) values (%s, 'contracted', %s)",
        LATEST + 2,
        LATEST + 1,
    )
    with pytest.raises(StoreUnusable, match="newer"):
        asyncio.run(opened(database.url))


def test_tables_that_were_only_expanded_are_used(database: PostgresOpener) -> None:
    database.run(
        "insert into emailrelay.version (version, title, oldest) values (%s, 'expanded', %s)",
        LATEST + 1,
        LATEST,
    )
    asyncio.run(opened(database.url))


@pytest.mark.parametrize("value", ["off", "local", "remote_write"])
def test_server_that_may_lose_confirmed_mail_is_refused(
    database: PostgresOpener, value: str
) -> None:
    unsafe = f"synchronous_commit={value}"
    database.alter("synchronous_commit", value)
    with pytest.raises(StoreUnusable, match=unsafe):
        asyncio.run(opened(database.url))
    asyncio.run(opened(database.server.url(database.name, allow=f"fsync=off,{unsafe}")))


def test_server_without_fsync_is_refused(database: PostgresOpener) -> None:
    with pytest.raises(StoreUnusable, match="fsync=off"):
        asyncio.run(opened(database.server.url(database.name, allow="")))


def test_command_says_what_to_do_without_a_database() -> None:
    refused = command("check", "--store", "spool:///tmp")
    assert refused.returncode == 78
    assert "not a database" in refused.stderr


def test_check_names_the_tables_for_which_a_grant_is_missing(database: PostgresOpener) -> None:
    url = database.url.replace("postgres@", "granted@")
    database.run("create role granted login")
    try:
        database.run("grant usage on schema emailrelay to granted")
        database.run(
            "grant select, insert, update, delete on all tables in schema emailrelay to granted"
        )
        sound = command("check", "--store", url)
        assert (sound.returncode, sound.stderr) == (0, "")
        database.run("revoke delete on emailrelay.body, emailrelay.token from granted")
        lacking = command("check", "--store", url)
        assert lacking.returncode == 78
        assert "table body: this user lacks a right" in lacking.stderr
        assert len(lacking.stderr.splitlines()) == 2
    finally:
        database.run("drop owned by granted")
        database.run("drop role granted")


def test_command_tells_its_version() -> None:
    told = command("--version")
    assert told.returncode == 0
    assert told.stdout.startswith("emailrelay-store ")


EXPANDED = Migration(
    version=LATEST + 1,
    title="a column and a table more",
    oldest=LATEST,
    statements=(
        "alter table emailrelay.message add column priority integer not null default 0",
        "create table emailrelay.news (id integer primary key)",
    ),
)
CONTRACTED = Migration(
    version=LATEST + 2,
    title="a column less",
    oldest=LATEST + 1,
    statements=("alter table emailrelay.message drop column priority",),
)


def next_release(monkeypatch: pytest.MonkeyPatch, *steps: Migration) -> None:
    """Be the next release from here on: what is open already remains of this one."""
    monkeypatch.setattr(versions, "MIGRATIONS", (*MIGRATIONS, *steps))
    monkeypatch.setattr(versions, "LATEST", steps[-1].version)


async def migrated(conninfo: str, *, tuned: bool = True) -> None:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        await versions.migrate(connection, lambda _: None, tuned=tuned)


async def test_two_releases_work_side_by_side_on_expanded_tables(
    database: PostgresOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database() as old, old.feed(Stage.READY) as old_feed:
        first = await put(old, b"claimed before")
        async with await claimed(old, first) as claim:
            next_release(monkeypatch, EXPANDED)
            with pytest.raises(StoreUnusable, match="emailrelay-store migrate"):
                await opened(database.url)
            await migrated(database.server.conninfo(database.name))
            assert await content_of(claim) == b"claimed before"
            await claim.settle(Done())
        async with database() as new:
            for_old = await put(new, b"of the new release")
            async with await next_of(old_feed) as claim:
                assert claim.id == for_old
                assert await content_of(claim) == b"of the new release"
                await claim.settle(Done())
            for_new = await put(old, b"of the old release")
            async with await claimed(new, for_new) as claim:
                await claim.settle(Done())
            assert await listed(old) == await listed(new) == {}


async def test_old_release_is_refused_after_the_contraction(
    database: PostgresOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        next_release(patched, EXPANDED, CONTRACTED)
        await migrated(database.server.conninfo(database.name))
        await opened(database.url)
    with pytest.raises(StoreUnusable, match="newer"):
        await opened(database.url)


async def test_steps_are_made_once_by_two_at_once() -> None:
    server = the_server()
    conninfo = server.conninfo(server.empty())
    await asyncio.gather(migrated(conninfo), migrated(conninfo))
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        found = await connection.execute("select version from emailrelay.version order by version")
        assert await found.fetchall() == [(step.version,) for step in MIGRATIONS]


async def test_tables_without_anything_that_only_postgresql_knows_do() -> None:
    server = the_server()
    name = server.empty()
    await migrated(server.conninfo(name), tuned=False)
    async with await psycopg.AsyncConnection.connect(
        server.conninfo(name), autocommit=True
    ) as connection:
        kinds = await connection.execute(
            "select distinct relkind::text from pg_class where relnamespace ="
            " 'emailrelay'::regnamespace and reloptions is null and relkind <> 't' order by 1"
        )
        assert await kinds.fetchall() == [("i",), ("r",), ("v",)]
        await opened(server.url(name))
        async with open_store(server.url(name), report=lambda _: None) as store:
            (message,) = await listed(store)
            async with await claimed(store, message) as claim:
                await claim.settle(Done())
        old = "update emailrelay.history set ended_at = ended_at - interval '8 days'"
        assert (await connection.execute(old)).rowcount == 1
        async with open_store(server.url(name), report=lambda _: None):
            left = await connection.execute("select count(*) from emailrelay.history")
            assert await left.fetchone() == (0,)
