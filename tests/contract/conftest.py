"""The stores that the contract suite is run over: ``STORES`` is the only place to register one.

A test that takes ``opener`` is for every store. A test in ``test_spool_*`` is for the spool only.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.contract.mail import Opener

from emailrelay.events import Event
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.memory import MemoryStore
from emailrelay.store.memory_mail import MemoryMail
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
        return open_store(self.directory, report=self.reports.append, clock=clock, sync=self.sync)


class LoggedSpoolOpener(SpoolOpener):
    """Opens one spool directory that has a log."""

    sync = SpoolSync.LOG


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
}


@pytest.fixture(params=STORES)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store of the product in turn."""
    return STORES[request.param].opener(tmp_path)


@pytest.fixture(params=[name for name, store in STORES.items() if store.shared])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store that several processes can open."""
    return STORES[request.param].opener(tmp_path)


@pytest.fixture(params=[name for name, store in STORES.items() if store.verifies])
def verified(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store that can be verified."""
    return STORES[request.param].opener(tmp_path)


@pytest.fixture(params=[name for name, store in STORES.items() if store.tokens])
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
