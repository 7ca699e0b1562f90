"""A lease ends while the final dot is sent: the message may come twice, and the log names it."""

import signal
from collections.abc import Iterator

import pytest
from tests.acceptance.relay import Relay, until
from tests.database_server import DatabaseServer
from tests.faults.database_office import OK, Office

PAUSE = "5"
"""Seconds that the smarthost takes for a message: more than a lease."""


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    made = DatabaseServer()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def office(relay: Relay, server: DatabaseServer) -> Iterator[Office]:
    with Office.of(relay, server, lease="2", pause=PAUSE) as made:
        yield made


def at_the_dot(office: Office) -> None:
    """Send a message, and wait until its final dot is on the way."""
    assert office.send() == OK
    doubted = "select count(*) from emailrelay.message where doubt is not null"
    until(lambda: office.run(doubted) == [(1,)], "the final dot is sent")


def test_lease_is_renewed_while_the_smarthost_takes_its_time(office: Office) -> None:
    office.start()
    other = office.relay.forwarder(office.sink.port, name="forwarder-2").start()
    at_the_dot(office)
    office.arrived(twice=0)
    assert not office.relay.possible_duplicates()
    assert other.running
    office.relay.stop()


def test_forwarder_that_was_frozen_at_the_final_dot_names_the_duplicate(office: Office) -> None:
    office.start()
    at_the_dot(office)
    office.forwarder.send(signal.SIGSTOP)
    other = office.relay.forwarder(office.sink.port, name="forwarder-2").start()
    other.hear("possible_duplicate")
    office.sink.wait_for(2)
    office.forwarder.send(signal.SIGCONT)
    office.arrived(twice=1)
    office.relay.stop()


def test_forwarder_that_was_killed_at_the_final_dot_leaves_the_name(office: Office) -> None:
    office.start()
    at_the_dot(office)
    office.forwarder.restart()
    office.arrived(twice=1)
    assert len(office.relay.possible_duplicates()) == 1
    office.relay.stop()


def test_database_away_from_the_final_dot_until_after_the_lease(office: Office) -> None:
    """The forwarder lives, and records the delivery however long that takes."""
    office.start()
    at_the_dot(office)
    office.far.refuse()
    (gone,) = [mail.id for mail in office.accepted.values()]
    until(lambda: [a.id for a in office.sink.arrivals()] == [gone], "the smarthost has it")
    office.far.restore()
    office.arrived(twice=1)
    office.relay.stop()
