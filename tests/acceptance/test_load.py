"""All acknowledged mail arrives, whole and once: the first promise."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.relay import SAMPLE_FILTER, Process, Relay, free_port, until
from tests.acceptance.sink import Arrival, record_of
from tests.acceptance.source import Load, assert_each_arrived_once

MESSAGES = 2000
SOME = 500
FILTERED = 300

SECOND_FILTER = """#!/bin/sh
set -eu
sed '1i X-Second: yes\\r' "$1" >"$1.second"
mv "$1.second" "$1"
"""
SMTP_SINK = "/usr/sbin/smtp-sink"


def edited_once(arrival: Arrival) -> bool:
    return arrival.all("X-Relayed") == ["by E-MailRelay"]


def edited_by_both(arrival: Arrival) -> bool:
    first_two = [name for name, _ in arrival.headers[:2]]
    return (
        first_two == ["X-Second", "X-Relayed"]
        and edited_once(arrival)
        and arrival.all("X-Second") == ["yes"]
    )


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A directory that smtp-sink can write to: it refuses to run as root."""
    if os.geteuid() != 0:
        yield tmp_path
        return
    directory = Path(tempfile.mkdtemp(prefix="emailrelay-sink-"))
    nobody = pwd.getpwnam("nobody")
    os.chown(directory, nobody.pw_uid, nobody.pw_gid)
    yield directory
    shutil.rmtree(directory)


def test_mixed_mail_over_twenty_sessions_arrives_whole_and_once(relay: Relay) -> None:
    sink = relay.sink().start()
    receiver = relay.receiver().start()
    relay.forwarder(sink.port).start()

    load = Load(receiver.port, MESSAGES)
    acknowledged = load.run()

    relay.drained()
    assert len(acknowledged) >= MESSAGES
    assert not load.refused
    assert_each_arrived_once(acknowledged, sink.arrivals())
    relay.stop()
    assert relay.scraps() == []


def test_each_message_is_edited_once_by_each_filter_of_the_chain(relay: Relay) -> None:
    second = relay.directory / "second"
    second.write_text(SECOND_FILTER)
    second.chmod(0o755)
    chain = ("--filter", str(SAMPLE_FILTER), "--filter", str(second))
    sink = relay.sink().start()
    receiver = relay.receiver(*chain).start()
    relay.filterd(*chain).start()
    relay.forwarder(sink.port).start()

    load = Load(receiver.port, FILTERED)
    acknowledged = load.run()

    relay.drained()
    assert not load.refused
    assert_each_arrived_once(acknowledged, sink.arrivals(), edits=edited_by_both)
    relay.stop()
    assert relay.scraps() == []


def test_two_workers_of_each_service_do_nothing_twice(relay: Relay) -> None:
    two = ("--workers", "2")
    chain = ("--filter", str(SAMPLE_FILTER))
    sink = relay.sink().start()
    receiver = relay.receiver(*two, *chain).start()
    filterd = relay.filterd(*two, *chain).start()
    relay.forwarder(sink.port, *two).start()

    load = Load(receiver.port, FILTERED)
    acknowledged = load.run()

    relay.drained()
    assert not load.refused
    assert_each_arrived_once(acknowledged, sink.arrivals(), edits=edited_once)
    # The second filterd helps, since programs are too slow for the first one alone. A forwarder
    # that keeps up needs no help.
    for service, kind in ((receiver, "received"), (filterd, "passed")):
        assert len({happening["pid"] for happening in service.events(kind)}) == 2
    relay.stop()
    assert relay.scraps() == []


def test_two_instances_of_each_service_on_one_spool_do_nothing_twice(relay: Relay) -> None:
    chain = ("--filter", str(SAMPLE_FILTER))
    sink = relay.sink().start()
    receivers = [relay.receiver(*chain, name=f"receiver{n}").start() for n in (1, 2)]
    filterds = [relay.filterd(*chain, name=f"filterd{n}").start() for n in (1, 2)]
    forwarders = [relay.forwarder(sink.port, name=f"forwarder{n}").start() for n in (1, 2)]

    loads = [
        Load(receiver.port, FILTERED // 2, sessions=10, first=100_000 * n)
        for n, receiver in enumerate(receivers)
    ]
    for load in loads:
        load.start()
    for load in loads:
        load.finish()

    relay.drained()
    assert_each_arrived_once(
        loads[0].acknowledged | loads[1].acknowledged, sink.arrivals(), edits=edited_once
    )
    assert all(filterd.events("passed") for filterd in filterds)
    assert all(forwarder.events("delivered") for forwarder in forwarders)
    assert relay.possible_duplicates() == set()
    relay.stop()
    assert relay.scraps() == []


def test_mail_passes_through_one_relay_after_another(relay: Relay) -> None:
    near, far = relay.directory / "near", relay.directory / "far"
    sink = relay.sink().start()
    far_receiver = relay.receiver(name="far-receiver", spool=far).start()
    relay.forwarder(sink.port, name="far-forwarder", spool=far).start()
    receiver = relay.receiver(name="near-receiver", spool=near).start()
    relay.forwarder(far_receiver.port, name="near-forwarder", spool=near).start()

    load = Load(receiver.port, SOME)
    acknowledged = load.run()

    relay.drained(near)
    relay.drained(far)
    assert not load.refused
    assert_each_arrived_once(
        acknowledged, sink.arrivals(), edits=lambda arrival: len(arrival.all("Received")) == 2
    )
    relay.stop()
    assert relay.scraps(near) == relay.scraps(far) == []


@pytest.mark.skipif(not Path(SMTP_SINK).exists(), reason="needs Postfix's smtp-sink")
def test_another_program_sees_the_same(relay: Relay, public: Path) -> None:
    port = free_port()
    user = ("-u", "nobody") if os.geteuid() == 0 else ()
    dump = ("-d", f"{public}/mail.")
    sink = Process(
        "smtp-sink", [SMTP_SINK, *user, *dump, f"127.0.0.1:{port}", "100"], relay.directory
    )
    relay.processes.append(sink)
    sink.spawn()
    receiver = relay.receiver().start()
    relay.forwarder(port, "--retry-first", "0.1").start()

    acknowledged = Load(receiver.port, SOME).run()

    relay.drained()
    arrivals = until(lambda: _dumped(public, SOME), "all is dumped")
    assert arrivals.keys() == acknowledged.keys()
    # smtp-sink writes line ends in the manner of Unix, and an empty line at the end.
    for id_, content in arrivals.items():
        assert content == acknowledged[id_].body.replace(b"\r\n", b"\n") + b"\n", id_


def _dumped(directory: Path, count: int) -> dict[str, bytes]:
    files = [path.read_bytes() for path in directory.glob("mail.*")]
    found: dict[str, bytes] = {}
    for octets in files:
        head, _, body = octets.partition(b"\n\n")
        arrival = record_of("", [], head.replace(b"\n", b"\r\n"), "")
        assert arrival.id not in found
        found[arrival.id] = body
    return found if len(found) >= count else {}
