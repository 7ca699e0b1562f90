"""The database is unavailable, slow, full or cut off: mail is refused for now, and all recover."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import psycopg
import pytest
from tests.acceptance.relay import Relay
from tests.database_server import DatabaseServer
from tests.faults.database_office import OK, Office
from tests.faults.extent import extent

FROZEN = extent(7.0, 30.0)
"""Seconds."""
LATER = 451


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    made = DatabaseServer("max_connections=40")
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def office(relay: Relay, server: DatabaseServer) -> Iterator[Office]:
    with Office.of(relay, server) as made:
        yield made


def test_stopped_and_started_again(office: Office) -> None:
    office.start()
    assert office.send() == OK
    office.server.stop()
    assert office.refused() == LATER
    office.server.start()
    office.taken_again()
    office.arrived()
    office.relay.stop()


def test_away_at_the_start_ends_each_service_with_a_status_to_try_again(office: Office) -> None:
    office.far.refuse()
    for service in office.services:
        service.spawn()
    for service in office.services:
        assert service.wait() == os.EX_TEMPFAIL
        (line,) = service.errors.read_text().splitlines()
        assert "connect to postgresql://" in line
        service.errors.unlink()
    office.far.restore()
    office.start()
    office.taken_again()
    office.arrived()
    office.relay.stop()


def test_frozen(office: Office) -> None:
    office.start()
    assert office.send() == OK
    office.server.signal_all(signal.SIGSTOP)
    assert office.refused() == LATER
    office.server.signal_all(signal.SIGCONT)
    office.taken_again()
    office.arrived(twice=len(office.accepted))
    office.relay.stop()


def test_cut_off_by_a_network_that_drops_all(office: Office) -> None:
    office.start()
    assert office.send() == OK
    office.far.fall_silent()
    assert office.refused() == LATER
    office.far.restore()
    office.taken_again()
    office.arrived(twice=len(office.accepted))
    office.relay.stop()


def test_out_of_connections(office: Office) -> None:
    office.start()
    assert office.send() == OK
    taken = list[psycopg.Connection]()
    office.far.refuse()
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            taken.append(psycopg.connect(office.server.conninfo(office.name)))
    office.far.restore()
    assert office.refused() == LATER
    for connection in taken:
        connection.close()
    office.taken_again()
    office.arrived()
    office.relay.stop()


def test_few_questions_are_asked_while_there_is_nothing_to_do(office: Office) -> None:
    office.start()
    assert office.send() == OK
    office.arrived()
    assert statements(office) <= 3 * _A_PROCESS


def test_few_connections_are_tried_while_the_database_is_away(office: Office) -> None:
    office.start()
    assert office.send() == OK
    office.far.refuse()
    first = office.far.proxy.connections
    time.sleep(_WINDOW)
    assert office.far.proxy.connections - first <= 3 * _A_PROCESS
    office.far.restore()
    office.taken_again()
    office.arrived()
    office.relay.stop()


_WINDOW = 10.0
"""Seconds in which is counted: a loop without a pause would be seen in a fraction of that."""
_A_PROCESS = 60
"""The most statements or connections of a process in that time."""


def statements(office: Office) -> int:
    """Count the statements of a window."""
    first = office.far.proxy.statements
    time.sleep(_WINDOW)
    return office.far.proxy.statements - first
