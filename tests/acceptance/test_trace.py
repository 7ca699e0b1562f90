"""``emailrelay-queue trace`` over real services: live and past mail, kills, and other users."""

import json
import os
import random
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.local_users import GROUP, MEMBER, OTHERS, SERVICE, Ground
from tests.acceptance.relay import BIN, HANG, Relay, until
from tests.acceptance.source import Load
from tests.database_server import the_server


def trace(
    text: str, *arguments: str, place: str | Path, status: int = 0
) -> subprocess.CompletedProcess[str]:
    """Trace a text in a spool or a store."""
    where = ("--store", place) if "://" in str(place) else ("--spool-dir", str(place))
    done = subprocess.run(
        [BIN / "emailrelay-queue", "trace", text, *map(str, where), *arguments],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


def traced(text: str, place: str | Path) -> list[dict[str, Any]]:
    """Return the objects of a trace; none if nothing is found."""
    done = subprocess.run(
        [
            BIN / "emailrelay-queue",
            *("trace", text, "--json", "--store" if "://" in str(place) else "--spool-dir"),
            str(place),
        ],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def send(port: int, to: str, message_id: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Message-ID"] = "ann@here.test", to, message_id
    message.set_content("hello")
    with smtplib.SMTP("127.0.0.1", port, timeout=HANG) as client:
        client.send_message(message)


@pytest.fixture(params=["spool", "postgres"])
def relay_at(
    request: pytest.FixtureRequest, relay: Relay, tmp_path: Path
) -> Iterator[tuple[Relay, str]]:
    """Give a relay, and the place of its store."""
    if request.param == "spool":
        yield relay, str(relay.spool)
        return
    server = the_server()
    relay.store = server.url(server.database(tmp_path))
    yield relay, relay.store


def test_live_and_past_mail_is_traced_with_the_servers_words(
    relay_at: tuple[Relay, str], tmp_path: Path
) -> None:
    relay, place = relay_at
    drops = tmp_path / "drops"
    drops.write_text('#!/bin/sh\ngrep -q "To: junk@" "$1" && exit 100\nexit 0\n')
    drops.chmod(0o755)
    chain = ("--filter", str(drops))
    sink = relay.sink().start()
    receiver = relay.receiver(*chain).start()
    relay.filterd(*chain).start()
    forwarder = relay.forwarder(sink.port).start()
    send(receiver.port, "bob@y.test", "<m1@here.test>")
    send(receiver.port, "junk@y.test", "<m2@here.test>")
    send(receiver.port, "refused@y.test", "<m3@here.test>")
    send(receiver.port, "later@y.test", "<m4@here.test>")
    forwarder.hear("delivered")
    forwarder.hear("failed")
    forwarder.hear("deferred")
    until(lambda: traced("junk", place), "the filter drops")

    (bob,) = traced("bob@y.test", place)
    assert (bob["state"], bob["live"], bob["message_id"]) == ("delivered", False, "<m1@here.test>")
    words = [entry["event"] for entry in bob["journal"]]
    assert words == ["Accepted", "Filtered", "Attempt"]
    assert bob["journal"][-1]["peer"] == sink.address
    assert bob["journal"][-1]["replies"]["bob@y.test"].startswith("250 ")
    assert [found["state"] for found in traced("junk@y.test", place)] == ["dropped"]
    assert [found["state"] for found in traced("refused@y.test", place)] == ["failed"]
    assert [found["state"] for found in traced("<m4@here.test>", place)] == ["deferred"]
    assert traced(bob["id"], place) == [bob]
    assert len(traced("ann@here.test", place)) == 4
    assert {found["id"] for found in traced("y.test", place)} == {
        found["id"] for found in traced("ann@here.test", place)
    }

    relay.stop()
    text = trace(bob["id"], place=place).stdout
    assert "delivered to all recipients" in text
    assert f"try with {sink.address}" in text
    unknown = trace("nobody@y.test", place=place, status=1).stderr
    assert "no message found in the store, which has 2 messages" in unknown
    assert "30 days" in unknown


def test_kill_of_the_forwarder_loses_no_mail_for_the_history_and_each_id_is_shown_once(
    relay: Relay,
) -> None:
    sink = relay.sink("--pause", "0.002").start()
    receiver = relay.receiver().start()
    forwarder = relay.forwarder(sink.port).start()
    acknowledged: set[str] = set()
    for count in range(4):
        load = Load(receiver.port, 60, first=count * 1000)
        load.start()
        load.wait_for(random.randrange(10, 50))  # noqa: S311 - no secret
        forwarder.restart()
        load.finish()
        acknowledged |= set(load.acknowledged)
    relay.drained()
    relay.stop()
    arrived = {arrival.id for arrival in sink.arrivals()}
    assert acknowledged <= arrived
    found = traced("sink.test", relay.spool)
    ids = [message["id"] for message in found]
    assert len(ids) == len(set(ids))
    assert all(message["state"] == "delivered" for message in found)
    # A kill may cost the records of the messages at their ends, and no other.
    assert len(acknowledged) - len(ids) <= 4 * 50


@pytest.fixture
def ground() -> Iterator[Ground]:
    if os.geteuid() != 0:
        pytest.skip("only root can become other users")
    made = Ground(mode=0o3770)
    try:
        yield made
    finally:
        made.clear_away()


def test_member_of_the_spools_group_traces_and_a_stranger_does_not(ground: Ground) -> None:
    script = (
        "import asyncio, sys\n"
        "from emailrelay.envelope import Address, Envelope\n"
        "from emailrelay.stage import Stage\n"
        "from emailrelay.store.chooser import open_store\n"
        "from emailrelay.store.mail_history import HistoryBounds\n"
        "async def main():\n"
        "    async with open_store(sys.argv[1], report=print) as store:\n"
        "        await store.history().keep(HistoryBounds(30, 10**9))\n"
        "        envelope = Envelope(Address('a@x.test'), to_remote=(Address('bob@y.test'),))\n"
        "        async with store.draft(envelope) as draft:\n"
        "            draft.write(b'x')\n"
        "            await draft.commit(Stage.READY)\n"
        "        await store.delete(draft.id)\n"
        "asyncio.run(main())\n"
    )
    served = ground.run("-c", script, ground.spool, user=SERVICE, groups=[GROUP])
    assert served.status == 0, served.err
    words = ("-m", "emailrelay.queue", "trace", "bob@y.test", "--spool-dir", ground.spool)
    member = ground.run(*words, user=MEMBER, groups=[GROUP])
    assert (member.status, member.err) == (0, "")
    assert "deleted by an operator" in member.out
    stranger = ground.run(*words, user=OTHERS)
    assert stranger.status != 0
    assert "bob" not in stranger.out


def test_reader_that_ends_early_and_a_hostile_terminal_text_do_no_harm(relay: Relay) -> None:
    receiver = relay.receiver().start()
    send(receiver.port, "bob@y.test", "<m1@here.test>")
    receiver.send(signal.SIGTERM)
    receiver.wait()
    (envelope,) = relay.spool.glob("*.envelope")
    with envelope.open("ab") as journal:
        journal.write(
            b'X-MailRelay-Attempt: {"at":1,"peer":"\\u001b[31mred\\u202e","trouble":"451 \\u0007"}\r\n'
        )
    told = trace("bob", place=relay.spool).stdout
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "\\x1b[31mred\\u202e" in told
