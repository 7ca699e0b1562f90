"""The tables are made by a command, have a version, and are used only if that fits."""

import asyncio
import subprocess
import sys

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import put
from tests.database_server import the_server

from emailrelay.errors import StoreUnusable
from emailrelay.store.chooser import open_store
from emailrelay.store.postgres.schema.migrations import LATEST


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
    assert "no database" in refused.stderr


def test_command_tells_its_version() -> None:
    told = command("--version")
    assert told.returncode == 0
    assert told.stdout.startswith("emailrelay-store ")
