"""Trouble that is not the smarthost's stops no other mail, is logged, and ends with its cause."""

import os
import smtplib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.relay import SAMPLE_FILTER, Relay, Service, until
from tests.acceptance.sink import Arrival
from tests.acceptance.source import Load, Mail, assert_each_arrived_once

MIB = 1024 * 1024
BIG = 50 * MIB
GROWTH = 8 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def send(port: int, mail: Mail) -> int:
    """Send one message; return the code of the reply to its content."""
    with smtplib.SMTP("127.0.0.1", port, timeout=100) as client:
        client.ehlo()
        client.mail("sender@client.test")
        client.rcpt("to@sink.test")
        return client.data(mail.content)[0]


def test_a_message_of_50_mib_costs_little_memory(relay: Relay) -> None:
    relay.kind = Service
    sink = relay.sink().start()
    receiver = relay.receiver().start()
    forwarder = relay.forwarder(sink.port).start()
    idle = {service: service.memory() for service in relay.services}
    mail = Mail(1002, BIG)

    assert send(receiver.port, mail) == 250

    forwarder.hear("delivered")
    relay.drained()
    assert_each_arrived_once({mail.id: mail}, sink.arrivals())
    for service, before in idle.items():
        grown = service.memory() - before
        assert grown <= GROWTH, f"{service.name}: {grown / MIB:.1f} MiB"


def test_an_unreadable_envelope_is_set_aside_and_all_others_go_on(relay: Relay) -> None:
    relay.spool.mkdir()
    sink = relay.sink().start()
    receiver = relay.receiver().start()
    forwarder = relay.forwarder(sink.port).start()
    for number, damage in enumerate(
        (b"", b"rubbish\0\xff\r\n", b"X-MailRelay-Format: #2821.8\r\n")
    ):
        name = f"emailrelay.1.2.{number}"
        (relay.spool / f"{name}.content").write_bytes(b"Subject: x\r\n\r\ny\r\n")
        # Whole at once: no line of the forwarder's is overwritten.
        (relay.directory / "damaged").write_bytes(damage)
        (relay.directory / "damaged").rename(relay.spool / f"{name}.envelope")

    acknowledged = Load(receiver.port, 50).run()

    forwarder.hear("set_aside", times=3)
    sink.wait_for(len(acknowledged))
    until(lambda: len(relay.waiting()) == 6, "the damaged ones are left")
    assert_each_arrived_once(acknowledged, sink.arrivals())
    bad = sorted(relay.spool.glob("emailrelay.1.2.*.envelope.bad"))
    assert len(bad) == 3
    for path in bad:
        assert b"X-MailRelay-Reason: " in path.read_bytes()
    assert len(forwarder.events("set_aside")) == 3


def test_a_relay_that_forwards_to_itself_stops_after_a_hundred_rounds(relay: Relay) -> None:
    receiver = relay.receiver().start()
    forwarder = relay.forwarder(receiver.port).start()
    Load(receiver.port, 1).run()

    (told,) = forwarder.hear("failed")

    assert "554 5.4.6" in told["reason"]
    assert len(forwarder.events("delivered")) == 100
    assert len(receiver.events("received")) == 101
    (content,) = relay.spool.glob("*.content")
    assert content.read_bytes().count(b"Received: from ") == 101


def test_a_missing_content_is_set_aside_and_nothing_empty_is_sent(relay: Relay) -> None:
    sink = relay.sink().start()
    receiver = relay.receiver().start()
    acknowledged = Load(receiver.port, 10, sessions=1).run()
    first = min(relay.spool.glob("*.content"))
    first.unlink()

    forwarder = relay.forwarder(sink.port).start()

    (told,) = forwarder.hear("set_aside")
    assert told["id"] in first.name
    assert len(sink.wait_for(9)) == 9
    assert all(arrival.id in acknowledged for arrival in sink.arrivals())
    until(lambda: [Path(name).suffix for name in relay.waiting()] == [".bad"], "one is left")


def test_a_missing_filter_holds_mail_back_until_it_appears(relay: Relay) -> None:
    def edited_once(arrival: Arrival) -> bool:
        return len(arrival.all("X-Relayed")) == 1

    program = relay.directory / "filter"
    chain = ("--filter", str(program))
    sink = relay.sink().start()
    receiver = relay.receiver(*chain).start()
    filterd = relay.filterd(*chain, "--retry-first", "0.2", "--retry-longest", "0.2").start()
    relay.forwarder(sink.port).start()

    acknowledged = Load(receiver.port, 20).run()
    told = filterd.hear("filter_trouble")
    assert str(program) in f"{told[0]['filter']} {told[0]['reason']}"
    assert len(list(relay.spool.glob("*.envelope.filter"))) == len(acknowledged)
    assert sink.arrivals() == []

    program.symlink_to(SAMPLE_FILTER)

    relay.drained()
    assert_each_arrived_once(acknowledged, sink.arrivals(), edits=edited_once)


def test_a_full_disk_refuses_mail_for_now_and_leaves_nothing(
    relay: Relay, small_disk: Path
) -> None:
    spool = small_disk / "spool"
    receiver = relay.receiver("--minimum-free", "0", spool=spool).start()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(5 * MIB))

    codes = [send(receiver.port, Mail(number, MIB)) for number in range(100, 110)]

    accepted = codes.count(250)
    assert set(codes) == {250, 452}
    assert 1 <= accepted <= 3
    assert receiver.hear("rejected")  # the check of free room or the write itself: both say 452
    assert len(relay.waiting(spool)) == 2 * accepted
    assert os.listdir(spool / ".new") == []  # noqa: PTH208 -- names are wanted

    ballast.unlink()

    assert send(receiver.port, Mail(110, MIB)) == 250
    sink = relay.sink().start()
    relay.forwarder(sink.port, spool=spool).start()
    relay.drained(spool)
    assert len(sink.arrivals()) == accepted + 1
    for arrival in sink.arrivals():
        assert arrival.all("X-Test-Sha256") == [arrival.sha256]


def test_mail_is_delivered_and_removed_on_a_full_disk(relay: Relay, small_disk: Path) -> None:
    spool = small_disk / "spool"
    receiver = relay.receiver("--minimum-free", "0", spool=spool).start()
    acknowledged = Load(receiver.port, 20, size=50_000).run()
    _fill_up(small_disk / "ballast")

    sink = relay.sink().start()
    relay.forwarder(sink.port, spool=spool).start()

    relay.drained(spool)
    assert_each_arrived_once(acknowledged, sink.arrivals())


def _fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(4096))
        except OSError:
            return
