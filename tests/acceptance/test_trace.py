"""``emailrelay-queue trace`` over real services: live and past mail, kills, and other users."""

import contextlib
import io
import json
import os
import random
import signal
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.local_users import GROUP, MEMBER, OTHERS, SERVICE, Ended, Ground
from tests.acceptance.relay import HANG, Relay, until
from tests.acceptance.source import Load
from tests.database_server import the_server

from emailrelay.queue.cli import main as queue_command


def ask(text: str, place: str | Path, *arguments: str) -> Ended:
    """Run the command in this process, which saves the start of Python."""
    where = ("--store", str(place)) if "://" in str(place) else ("--spool-dir", str(place))
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        status = queue_command(["trace", text, *where, *arguments])
    return Ended(status, out.getvalue(), errors.getvalue())


def traced(text: str, place: str | Path) -> list[dict[str, Any]]:
    """Return the objects of a trace; none if nothing is found."""
    ended = ask(text, place, "--json")
    assert ended.status in (0, 1), ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def become(text: str, place: str, state: str) -> None:
    """Wait until a trace finds one message, in this state: a record may follow the log."""
    until(lambda: [found["state"] for found in traced(text, place)] == [state], f"{text}: {state}")


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
    become("bob@y.test", place, "delivered")
    become("junk@y.test", place, "dropped")
    become("refused@y.test", place, "failed")
    become("<m4@here.test>", place, "deferred")

    (bob,) = traced("bob@y.test", place)
    assert (bob["state"], bob["live"], bob["message_id"]) == ("delivered", False, "<m1@here.test>")
    words = [entry["event"] for entry in bob["journal"]]
    assert words == ["Accepted", "Filtered", "Attempt"]
    assert bob["journal"][-1]["peer"] == sink.address
    assert bob["journal"][-1]["replies"]["bob@y.test"].startswith("250 ")
    assert traced(bob["id"], place) == [bob]
    assert len(traced("ann@here.test", place)) == 4
    assert {found["id"] for found in traced("y.test", place)} == {
        found["id"] for found in traced("ann@here.test", place)
    }

    relay.stop()
    text = ask(bob["id"], place).out
    assert "delivered to all recipients" in text
    assert f"try 1 with {sink.address}" in text
    unknown = ask("nobody@y.test", place)
    assert unknown.status == 1
    assert "no message found in the store (2 messages) and in the history of" in unknown.err
    assert "30 days" in unknown.err


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
    assert "deleted by the operator" in member.out
    stranger = ground.run(*words, user=OTHERS)
    assert stranger.status != 0
    assert "bob" not in stranger.out


def test_texts_of_strangers_are_printed_without_control_characters(relay: Relay) -> None:
    receiver = relay.receiver().start()
    send(receiver.port, "bob@y.test", "<m1@here.test>")
    receiver.send(signal.SIGTERM)
    receiver.wait()
    (envelope,) = relay.spool.glob("*.envelope")
    with envelope.open("ab") as journal:
        journal.write(
            b'X-MailRelay-Attempt: {"at":1,'
            b'"peer":"\\u001b[31mred\\u202e","trouble":"451 \\u0007"}\r\n'
        )
    told = ask("bob", relay.spool).out
    assert "\x1b" not in told
    assert "\u202e" not in told
    assert "\\x1b[31mred\\u202e" in told
