"""The stores that the contract suite is run over: ``STORES`` is the only place to register one.

A test that takes ``opener`` is for every store. A test in ``test_spool_*`` is for the spool only.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import LiteralString, NamedTuple

import psycopg
import pytest
from _pytest.mark import ParameterSet
from psycopg import sql
from tests.contract.mail import Opener
from tests.database_pooler import POOLER, the_pooler
from tests.database_server import give_back_database, the_server
from tests.faults.extent import ALL

from emailrelay.events.event import Event
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_tokens
from emailrelay.store.memory.mail import MemoryMail
from emailrelay.store.memory.store import MemoryStore
from emailrelay.store.postgres.store import PostgresStore
from emailrelay.store.several import SeveralStores
from emailrelay.store.spool.durable.loop_flushes import LoopFlushes
from emailrelay.store.spool.store import SpoolStore
from emailrelay.store.spool.tokens import SpoolTokens
from emailrelay.store.tokens import TokenStore


class MemoryOpener:
    """Opens one piece of memory."""

    place = "memory:"

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
        self.place = str(self.directory)

    def __call__(self, clock: Callable[[], float] = time.time) -> Store:
        return SpoolStore(self.directory, report=self.reports.append, clock=clock, sync=self.sync)


class LoggedSpoolOpener(SpoolOpener):
    """Opens one spool directory that has a log."""

    sync = SpoolSync.LOG


class PostgresOpener:
    """Opens the database of one directory, which is made when it is first asked for."""

    def __init__(self, directory: Path) -> None:
        self.reports: list[Event] = []
        self.server = the_server()
        self.name = self.server.database(directory)
        self.url = self.server.url(self.name)
        self.place = self.server.url(self.name, lease="4")
        """For other processes: what a killed one has claimed is free after this lease."""

    def run(self, statement: LiteralString, *parameters: object) -> list[tuple[object, ...]]:
        """Run a statement beside the store; return its rows."""
        with psycopg.connect(self.server.conninfo(self.name), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def alter(self, setting: str, value: str) -> None:
        """Change a setting of the server for this database."""
        with psycopg.connect(self.server.conninfo(self.name), autocommit=True) as connection:
            connection.execute(
                sql.SQL("alter database {} set {} = {}").format(
                    sql.Identifier(self.name), sql.Identifier(setting), sql.Literal(value)
                )
            )

    def end_leases(self) -> None:
        """End all leases, as time does for a process that does not renew them."""
        self.run("update emailrelay.message set lease_until = clock_timestamp() - interval '1 s'")

    def kinds(self) -> list[str]:
        """Return the names of the reported events."""
        return [type(event).__name__ for event in self.reports]

    def __call__(self, clock: Callable[[], float] = time.time) -> Store:
        return _database(self.url, self.reports, clock)


def _database(url: str, reports: list[Event], clock: Callable[[], float]) -> PostgresStore:
    given = None if clock is time.time else clock  # None: the time of the database
    return PostgresStore(url, report=reports.append, clock=given)


class PooledOpener(PostgresOpener):
    """Opens the database of one directory through PgBouncer, in transaction mode."""

    def __init__(self, directory: Path) -> None:
        if POOLER is None:
            pytest.skip("needs PgBouncer; run: make peers")
        super().__init__(directory)
        far = str(the_pooler().directory)
        self.url = self.server.url(self.name, host=far)
        self.place = self.server.url(self.name, host=far, lease="4")


class SeveralOpener:
    """Opens two databases as one store."""

    def __init__(self, directory: Path) -> None:
        self.reports: list[Event] = []
        self.databases = [PostgresOpener(directory), PostgresOpener(directory / _SECOND)]
        self.place = " ".join(each.place for each in self.databases)

    def __call__(self, clock: Callable[[], float] = time.time) -> Store:
        stores = [_database(each.url, self.reports, clock) for each in self.databases]
        return SeveralStores(stores, self.reports.append)


_SECOND = "second"


@pytest.fixture(autouse=True)
def _databases(tmp_path: Path) -> Iterator[None]:
    """Leave the databases of a test, if it had any, to the next one."""
    yield
    for directory in (tmp_path, *(tmp_path / each for each in (_SECOND, "from", "to"))):
        give_back_database(directory)


@pytest.fixture
def threads_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files synced by threads, as on systems whose kernel does not do it by itself."""

    def no(_flushes: LoopFlushes, _loop: asyncio.AbstractEventLoop) -> bool:
        return False

    monkeypatch.setattr(LoopFlushes, "serves", no)


@pytest.fixture
def several(tmp_path: Path) -> SeveralOpener:
    """Give two empty databases that are used together."""
    return SeveralOpener(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> PostgresOpener:
    """Give an empty database, for facts about that store."""
    return PostgresOpener(tmp_path)


def _database_tokens(directory: Path) -> TokenStore:
    return open_tokens(PostgresOpener(directory).url, directory)


class Registered(NamedTuple):
    """A kind of store, and its abilities besides those of ``Store``."""

    opener: Callable[[Path], Opener]
    """Makes an opener of a store that is empty; the directory is the test's own."""
    shared: bool = True
    """True: other processes can open it, at the opener's ``place``."""
    tokens: Callable[[Path], TokenStore] | None = None
    """Gives the tokens there, with the same directory the same; None: another store keeps them."""
    verifies: bool = True
    """True: ``Store.verification`` is not refused."""


def _spool_tokens(directory: Path) -> TokenStore:
    return SpoolTokens(str(directory))


STORES = {
    "memory": Registered(MemoryOpener, shared=False, verifies=False),
    "spool": Registered(SpoolOpener, tokens=_spool_tokens),
    "log": Registered(LoggedSpoolOpener),
    "several": Registered(SeveralOpener, verifies=False),
    "postgres": Registered(PostgresOpener, tokens=_database_tokens),
    "pooled": Registered(PooledOpener),
}


_ON_REQUEST = {"pooled", "several"}
"""Stores made of others, which take minutes; their own modules always run."""


def _stores(names: Iterable[str]) -> list[ParameterSet]:
    """Make parameters of names."""
    asked = pytest.mark.skipif(not ALL, reason="takes minutes: FAULTS=short make test")
    return [pytest.param(name, marks=[asked] if name in _ON_REQUEST else []) for name in names]


@pytest.fixture(params=_stores(STORES))
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store of the product in turn."""
    return STORES[request.param].opener(tmp_path)


@pytest.fixture(params=_stores(name for name, store in STORES.items() if store.shared))
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store that several processes can open."""
    return STORES[request.param].opener(tmp_path)


@pytest.fixture(params=_stores(name for name, store in STORES.items() if store.verifies))
def verified(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store that can be verified."""
    return STORES[request.param].opener(tmp_path)


@pytest.fixture(params=_stores(name for name, store in STORES.items() if store.tokens))
def tokens(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TokenStore]:
    """Give each store of tokens: its opener, to be called once for each process."""
    opened = STORES[request.param].tokens
    assert opened is not None
    return lambda: opened(tmp_path)


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
