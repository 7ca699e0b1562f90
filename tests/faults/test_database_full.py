"""The database's disk is full: mail is refused for now, what was delivered is not sent again."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.relay import Relay, until
from tests.database_server import DatabaseServer, server_user
from tests.faults.database_office import OK, Office

NO_ROOM = 452


@pytest.fixture
def disk() -> Iterator[Path]:
    """Give a small disk that the server may use."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a file system")
    # The server's user must reach it.
    root = Path(tempfile.gettempdir()) / f"disk-{os.getpid()}"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(root)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        root.rmdir()
        pytest.skip(f"cannot mount a file system: {made.stderr.strip()}")
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
        root.rmdir()


@pytest.fixture
def server(disk: Path) -> Iterator[DatabaseServer]:
    made = DatabaseServer()
    try:
        tables = disk / "tables"
        tables.mkdir()
        if (user := server_user()) is not None:
            shutil.chown(tables, user)
        yield made
    finally:
        made.remove()


@pytest.fixture
def office(relay: Relay, server: DatabaseServer, disk: Path) -> Iterator[Office]:
    with Office.of(relay, server) as made:
        with psycopg.connect(server.conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{disk / 'tables'}'".encode())
            connection.execute(f"alter database {made.name} set tablespace small".encode())
        yield made


@pytest.fixture
def log_office(relay: Relay, disk: Path) -> Iterator[Office]:
    """Give an office whose database has its write-ahead log on the small disk."""
    if (user := server_user()) is not None:
        shutil.chown(disk, user)
    server = DatabaseServer("min_wal_size=2MB", "max_wal_size=4MB", wal=disk / "log")
    try:
        with Office.of(relay, server) as made:
            yield made
    finally:
        server.remove()


def fill(ballast: Path) -> None:
    """Take all room that the disk has."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)) == 4096:
                pass
        except OSError:
            return


def test_full_disk_loses_nothing_and_sends_nothing_twice(office: Office, disk: Path) -> None:
    office.start()
    office.forwarder.kill()
    for _ in range(5):
        assert office.send() == OK
    ready = "select count(*) = 5 from emailrelay.message where stage = 'ready'"
    until(lambda: office.run(ready) == [(True,)], "the filters have run")
    ballast = disk / "ballast"
    fill(ballast)
    assert until(lambda: code if (code := office.send(100_000)) != OK else 0, "refused") == NO_ROOM
    office.forwarder.start()
    office.forwarder.hear("store_trouble")
    ballast.unlink()
    until(lambda: office.send(100_000) == OK, "mail is taken again")
    office.arrived()
    office.relay.stop()


def test_full_disk_of_the_log_ends_the_database_and_loses_nothing(
    log_office: Office, disk: Path
) -> None:
    """PostgreSQL ends itself when it cannot write its log: for the relay it is away until then."""
    office = log_office
    office.start()
    assert office.send() == OK
    ballast = disk / "ballast"
    fill(ballast)

    def send_until_trouble() -> None:
        while not office.receiver.events("store_trouble"):
            office.send(100_000)

    with ThreadPoolExecutor(1) as client:
        sending = client.submit(send_until_trouble)
        office.receiver.hear("store_trouble")
        assert "PANIC" in (office.server.directory / "log").read_text()
        ballast.unlink()

        def over() -> bool:
            office.server.survive()
            return sending.done()

        until(over, "the client has its answer")
        sending.result()
    office.taken_again()
    office.arrived(twice=len(office.accepted))
    office.relay.stop()
