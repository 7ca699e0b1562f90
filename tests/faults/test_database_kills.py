"""Random kills of services and fail-overs of databases, under load: nothing is lost or stranded."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.relay import Relay
from tests.database_server import DatabaseServer
from tests.faults.cluster import Cluster
from tests.faults.database_course import Course
from tests.faults.extent import extent
from tests.faults.report import Report

KILLS = int(os.environ.get("KILLS", extent(6, 1000)))
PROXY_KILLS = int(os.environ.get("PROXY_KILLS", extent(4, 250)))
FAIL_OVERS = int(os.environ.get("FAIL_OVERS", extent(1, 100)))
RESTARTS = int(os.environ.get("RESTARTS", extent(1, 50)))
A_ROUND = 100
"""Faults between two checks of all mail."""
A_ROUND_OF_FAIL_OVERS = 10


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    made = DatabaseServer("autovacuum=on")
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def chance(relay: Relay) -> random.Random:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))  # noqa: S311 -- no secret
    relay.directory.joinpath("seed").write_text(str(seed))
    return random.Random(seed)  # noqa: S311 -- no secret


@pytest.mark.timeout(extent(300, 24 * 3600))
def test_kills_at_random_moments_lose_nothing(
    relay: Relay, server: DatabaseServer, chance: random.Random, report: Report
) -> None:
    course = _on(server, relay, chance)
    course.start()
    for first in range(0, KILLS, A_ROUND):
        course.load()
        for _ in range(min(A_ROUND, KILLS - first)):
            course.progress()
            course.kill()
        assert course.settled() == []
        report.figure("database, kills", str(course))
    relay.stop()


@pytest.mark.timeout(extent(300, 24 * 3600))
def test_kills_of_a_proxy_never_make_its_answer_wrong(
    relay: Relay, server: DatabaseServer, chance: random.Random, report: Report
) -> None:
    course = _on(server, relay, chance, ack="delivered")
    course.start()
    for first in range(0, PROXY_KILLS, A_ROUND):
        course.load()
        for _ in range(min(A_ROUND, PROXY_KILLS - first)):
            course.progress()
            course.kill()
        assert course.settled() == []
        report.figure("database, kills, clients wait until delivered", str(course))
    relay.stop()


@pytest.mark.timeout(extent(300, 24 * 3600))
@pytest.mark.parametrize("ack", ["stored", "delivered"])
def test_database_that_is_killed_and_started_again_loses_nothing(
    relay: Relay, server: DatabaseServer, chance: random.Random, report: Report, ack: str
) -> None:
    course = _on(server, relay, chance, ack)
    course.start()
    for first in range(0, RESTARTS, A_ROUND):
        course.load()
        for _ in range(min(A_ROUND, RESTARTS - first)):
            course.progress(least=20)
            server.kill()
            server.start()
            course.done["database"] += 1
            course.progress(least=1)
        assert course.settled() == []
        what = f"database, kills of all its processes, clients wait until {ack}"
        report.figure(what, str(course))
    relay.stop()


@pytest.mark.timeout(extent(300, 24 * 3600))
def test_fail_overs_to_a_synchronous_standby_lose_nothing(
    relay: Relay, cluster: Cluster, chance: random.Random, report: Report
) -> None:
    relay.store = cluster.url
    course = Course(relay, cluster.asked, chance)
    course.start()
    for first in range(0, FAIL_OVERS, A_ROUND_OF_FAIL_OVERS):
        course.load()
        for _ in range(min(A_ROUND_OF_FAIL_OVERS, FAIL_OVERS - first)):
            course.progress(least=20)
            cluster.fail_over()
            course.done["fail-over"] += 1
            cluster.repair()
            course.progress(least=1)
        assert course.settled() == []
        report.figure("database, fail-overs", str(course))
    relay.stop()


def _on(server: DatabaseServer, relay: Relay, chance: random.Random, ack: str = "stored") -> Course:
    name = server.database(Path("mail"))
    relay.store = server.url(name, lease="4")

    def asked(statement: str) -> object:
        with psycopg.connect(server.conninfo(name)) as connection:
            (found,) = connection.execute(statement.encode()).fetchone() or (None,)
            return found

    return Course(relay, asked, chance, ack)
