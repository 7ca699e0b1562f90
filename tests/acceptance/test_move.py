"""A live queue moves into another store; services run, and the move is killed again and again."""

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.relay import BIN, HANG, Relay, until
from tests.acceptance.source import Load, assert_each_arrived_once
from tests.database_server import drop_database, the_server

MESSAGES = 400
KILLS = 8


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    server = the_server()
    try:
        yield server.url(server.database(tmp_path), lease="10")
    finally:
        drop_database(tmp_path)


def move(*words: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [BIN / "emailrelay-queue", *words],
        env={"PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def counted(store: str | Path, state: str = "messages") -> int:
    listed = subprocess.run(
        [BIN / "emailrelay-queue", "list", "--json", "--limit", "0", "--store", str(store)],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    return len(
        [line for line in listed.stdout.splitlines() if state == "messages" or state in line]
    )


@pytest.mark.parametrize("back", [False, True], ids=["spool to database", "database to spool"])
def test_killed_moves_lose_and_repeat_nothing(relay: Relay, database: str, *, back: bool) -> None:
    relay.spool.mkdir()
    here = f"spool://{relay.spool}"
    source, target = (database, here) if back else (here, database)
    sink = relay.sink().start()
    receiver = relay.receiver("--store", source).start()
    load = Load(receiver.port, MESSAGES, sessions=10)
    acknowledged = load.run()
    assert counted(source) == MESSAGES

    # The forwarders of both hosts work meanwhile, slowly, so that the move meets their claims.
    for name, store in (("old", source), ("new", target)):
        relay.forwarder(
            sink.port, "--store", store, "--connections-per-route", "1", name=name
        ).start()
    for _ in range(KILLS):
        begun = move("export", target, "--store", source)
        delay = random.uniform(0.3, 1.5)  # noqa: S311 -- no secret
        try:
            begun.wait(delay)
        except subprocess.TimeoutExpired:
            begun.send_signal(signal.SIGKILL)
            begun.wait()
        finally:
            begun.communicate()

    def finished() -> bool:
        words = ("import", source, "--store", target)
        last = move(*words)
        _, errors = last.communicate(timeout=HANG)
        assert last.returncode in (0, 1), errors
        return last.returncode == 0

    until(finished, "all is moved")
    assert counted(source) == 0
    sink.wait_for(MESSAGES)
    until(lambda: counted(target) == 0, "the target is empty")
    assert_each_arrived_once(acknowledged, sink.arrivals())
    assert relay.possible_duplicates() == set()


def test_move_says_what_it_did_and_needs_two_stores(relay: Relay, tmp_path: Path) -> None:
    receiver = relay.receiver().start()
    Load(receiver.port, 3, sessions=1).run()
    receiver.stop()
    other = tmp_path / "other"
    same = move("export", relay.spool, "--spool-dir", relay.spool)
    assert "both stores are the same" in same.communicate()[1]
    missing = move("export", other, "--spool-dir", relay.spool)
    assert "no such spool directory" in missing.communicate()[1]
    other.mkdir()
    moved = move("export", other, "--spool-dir", relay.spool)
    said, _ = moved.communicate()
    assert moved.returncode == 0
    assert said.startswith("3 messages moved from ")
