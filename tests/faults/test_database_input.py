"""An unusable database: one line says what to do, and no secret is shown anywhere."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import connect
from tests.acceptance.relay import BIN
from tests.database_server import DatabaseServer

SECRET = "hunter2"  # noqa: S105 -- of no one


@pytest.fixture(scope="module")
def server() -> Iterator[DatabaseServer]:
    made = DatabaseServer()
    try:
        yield made
    finally:
        made.remove()


def said(url: str, directory: Path) -> tuple[int, str]:
    """Start each service and the tool with a URL; return their status and line, which are equal."""
    found = set[tuple[int, str]]()
    for command in (
        ["emailrelay-receiver", "--port", "0"],
        ["emailrelay-filterd", "--filter", "/bin/true"],
        ["emailrelay-forwarder", "--forward-to", "127.0.0.1:9"],
    ):
        ended = subprocess.run(
            [BIN / command[0], *command[1:], "--store", url, "--spool-dir", directory / "spool"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PGPASSWORD": SECRET},
        )
        assert SECRET not in ended.stdout + ended.stderr
        (line,) = ended.stderr.splitlines()
        found.add((ended.returncode, line.partition(": ")[2]))
    ((status, line),) = found
    return status, line


def test_url_with_a_password(tmp_path: Path) -> None:
    status, line = said(f"postgresql://u:{SECRET}@localhost/mail", tmp_path)
    assert (status, "PGPASSFILE" in line) == (os.EX_CONFIG, True)


def test_url_that_is_none(tmp_path: Path) -> None:
    status, line = said(f"postgresql://u:{SECRET}@[localhost/mail", tmp_path)
    assert (status, "postgresql://USER@HOST:PORT/DATABASE" in line) == (os.EX_CONFIG, True)


def test_unknown_host(tmp_path: Path) -> None:
    status, line = said("postgresql://u@no-such-host.invalid/mail", tmp_path)
    assert (status, "no-such-host.invalid" in line) == (os.EX_TEMPFAIL, True)


def test_database_that_does_not_exist(server: DatabaseServer, tmp_path: Path) -> None:
    status, line = said(server.url("missing"), tmp_path)
    assert (status, "create it, or correct the URL" in line) == (os.EX_CONFIG, True)


def test_database_without_tables(server: DatabaseServer, tmp_path: Path) -> None:
    status, line = said(server.url(server.empty()), tmp_path)
    assert (status, "run: emailrelay-store init" in line) == (os.EX_CONFIG, True)


def test_tables_of_a_later_version(server: DatabaseServer, tmp_path: Path) -> None:
    name = server.database(tmp_path)
    run(server, name, "insert into emailrelay.version values (99, 'later', 99)")
    status, line = said(server.url(name), tmp_path)
    assert (status, "install a newer one" in line) == (os.EX_CONFIG, True)


def test_user_without_rights(server: DatabaseServer, tmp_path: Path) -> None:
    name = server.database(tmp_path)
    run(server, name, "drop role if exists poor; create role poor login")
    url = server.url(name).replace("postgres@", "poor@")
    status, line = said(url, tmp_path)
    assert (status, "lacks a right" in line) == (os.EX_CONFIG, True)


def test_table_without_a_column(server: DatabaseServer, tmp_path: Path) -> None:
    name = server.database(tmp_path)
    run(server, name, "alter table emailrelay.clock_mark rename latest to newest")
    status, line = said(server.url(name), tmp_path)
    assert (status, "a column is missing" in line) == (os.EX_CONFIG, True)


def test_wrong_password(server: DatabaseServer, tmp_path: Path) -> None:
    name = server.database(tmp_path)
    run(server, name, "drop role if exists locked; create role locked login password 'right'")
    rules = server.directory / "data" / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local all locked scram-sha-256\n{before}")
    run(server, name, "select pg_reload_conf()")
    try:
        status, line = said(server.url(name).replace("postgres@", "locked@"), tmp_path)
    finally:
        rules.write_text(before)
        run(server, name, "select pg_reload_conf()")
    assert (status, "check PGPASSFILE" in line) == (os.EX_CONFIG, True)


def run(server: DatabaseServer, name: str, statement: str) -> None:
    with connect(server.conninfo(name), autocommit=True) as connection:
        connection.execute(statement.encode())
