"""A service dies at every statement of a message's life; a connection breaks at every message."""

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from tests.acceptance.relay import Relay, Service, until
from tests.database_server import DatabaseServer
from tests.faults.database_office import OK, Office
from tests.faults.extent import extent
from tests.faults.report import Report

EACH = extent(15, 1)
"""The step from one statement to the next that is tried."""
_MOST = 400


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    made = DatabaseServer()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def office(relay: Relay, server: DatabaseServer) -> Iterator[Office]:
    with Office.of(relay, server, lease="1") as made:
        yield made


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("name", ["receiver", "filterd", "forwarder"])
def test_service_dies_at_every_statement(
    office: Office, name: str, moment: str, report: Report
) -> None:
    office.start()
    (victim,) = [service for service in office.services if service.name == name]
    kills = 0
    while kills < _MOST and died(office, victim, moment, 1 + kills * EACH):
        kills += 1
        office.arrived(twice=kills)
    assert kills
    report.figure(f"database, {name} killed {moment} each statement", f"{kills} kills")
    office.relay.stop()


def ignore(_statement: int) -> None:
    pass


def died(office: Office, victim: Service, moment: str, number: int) -> bool:
    """Kill a service at one of its statements from its start until a message has passed.

    Return whether there was such a statement.
    """
    victim.kill()
    proxy = office.far.proxy
    first = proxy.statements
    dead = list[int]()
    victim.spawn()
    pid = victim.pid

    def kill(statement: int) -> None:
        if not dead and statement >= first + number:
            dead.append(statement)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    hook = "before_statement" if moment == "before" else "after_statement"
    setattr(proxy, hook, kill)
    until(lambda: dead or victim.events("started", pid=pid), f"{victim.name} starts or dies")
    sent = office.send() == OK if not dead else False
    if sent:
        until(lambda: dead or office.rows("message") == 0, "the message passes")
    setattr(proxy, hook, ignore)
    if dead:
        victim.wait()
        victim.spawn()
    victim.hear("started", pid=victim.pid)
    return bool(dead)
