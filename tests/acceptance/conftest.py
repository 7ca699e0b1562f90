"""Real processes for each test, ended after it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.command import Command, recording_sink
from tests.acceptance.database_hosts import Hosts
from tests.acceptance.forked_services import Forked
from tests.acceptance.relay import Relay, Sink
from tests.database_server import drop_database, the_server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.acceptance)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """Give a relay whose services are forked, unless the test sets ``kind``."""
    relay = Relay(tmp_path, kind=Forked)
    try:
        yield relay
    finally:
        relay.clear_away()
        relay.show()
    assert not relay.faults()


@pytest.fixture
def hosts(relay: Relay, tmp_path: Path) -> Iterator[Hosts]:
    """Give services that share a database of their own, and no spool."""
    server = the_server()
    name = server.database(tmp_path)
    try:
        yield Hosts(relay, server, server.url(name, lease="4"), name)
        assert not relay.spool.exists()
    finally:
        relay.clear_away()
        drop_database(tmp_path)


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    command = Command(tmp_path)
    try:
        yield command
    finally:
        command.clear_away()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    sink = recording_sink(tmp_path).start()
    try:
        yield sink
    finally:
        sink.clear_away()
