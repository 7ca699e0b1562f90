"""The stores that the contract suite is run over."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from tests.contract.mail import Opener
from tests.database_server import DatabaseServer

from emailrelay.events import Event
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.memory import MemoryStore
from emailrelay.store.memory_mail import MemoryMail


class MemoryOpener:
    """Opens one piece of memory."""

    def __init__(self, _directory: Path) -> None:
        self.reports: list[Event] = []
        self._mail = MemoryMail()

    def __call__(self, clock: Callable[[], float] = time.time) -> Store:
        return MemoryStore(report=self.reports.append, clock=clock, mail=self._mail)


class SpoolOpener:
    """Opens one spool directory."""

    sync = SpoolSync.FILES

    def __init__(self, directory: Path) -> None:
        self.reports: list[Event] = []
        self.directory = directory / "spool"

    def __call__(self, clock: Callable[[], float] = time.time) -> Store:
        return open_store(self.directory, report=self.reports.append, clock=clock, sync=self.sync)


class LoggedSpoolOpener(SpoolOpener):
    """Opens one spool directory that has a log."""

    sync = SpoolSync.LOG


class PostgresOpener:
    """Opens one database."""

    def __init__(self, server: DatabaseServer, name: str) -> None:
        self.reports: list[Event] = []
        self.server, self.name = server, name
        self.url = server.url(name)

    def run(self, statement: LiteralString, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement beside the store; return its rows."""
        with psycopg.connect(self.server.conninfo(self.name), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def end_leases(self) -> None:
        """End all leases, as time does for a process that does not renew them."""
        self.run("update emailrelay.message set lease_until = clock_timestamp() - interval '1 s'")

    def kinds(self) -> list[str]:
        """Return the names of the reported events."""
        return [type(event).__name__ for event in self.reports]

    def __call__(self, clock: Callable[[], float] = time.time) -> Store:
        return open_store(self.url, report=self.reports.append, clock=clock)


@pytest.fixture(scope="session")
def database_server() -> Iterator[DatabaseServer]:
    """Start one server for all tests of this process."""
    server = DatabaseServer()
    yield server
    server.remove()


@pytest.fixture
def database(database_server: DatabaseServer) -> Iterator[PostgresOpener]:
    """Give a fresh database, for facts that need one."""
    name = database_server.database()
    yield PostgresOpener(database_server, name)
    database_server.drop(name)


_OPENERS: dict[str, Callable[[Path], Opener]] = {
    "memory": MemoryOpener,
    "spool": SpoolOpener,
    "log": LoggedSpoolOpener,
}


@pytest.fixture(params=[*_OPENERS, "postgres"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store of the product in turn."""
    if request.param == "postgres":  # started only if it is needed
        found: PostgresOpener = request.getfixturevalue("database")
        return found
    return _OPENERS[request.param](tmp_path)


@pytest.fixture
def synced_spool(tmp_path: Path) -> SpoolOpener:
    """Give a spool without a log, for facts about its syncs."""
    return SpoolOpener(tmp_path)


@pytest.fixture
def logged_spool(tmp_path: Path) -> LoggedSpoolOpener:
    """Give a spool with a log, for facts about that."""
    return LoggedSpoolOpener(tmp_path)


@pytest.fixture(params=[SpoolOpener, LoggedSpoolOpener], ids=["files", "log"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> SpoolOpener:
    """Give a spool, for facts that need a disk."""
    made: SpoolOpener = request.param(tmp_path)
    return made
