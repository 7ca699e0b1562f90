"""A receiver with ``store_fallback`` answers 250 without the database, and loses nothing."""

import os
import signal
import smtplib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.acceptance.relay import BIN, HANG, Relay, Service, Sink, until
from tests.acceptance.source import (
    Load,
    Mail,
    assert_all_arrived,
    assert_each_arrived_once,
    repeated,
)
from tests.database_server import DatabaseServer
from tests.service.submitting import command


@dataclass
class Host:
    """An application host with a fallback, a gateway, and a database that a test can stop."""

    relay: Relay
    server: DatabaseServer
    url: str

    @property
    def fallback(self) -> str:
        return f"spool://{self.relay.spool}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "EMAILRELAY_STORE": self.url,
            "EMAILRELAY_STORE_FALLBACK": self.fallback,
            "EMAILRELAY_DOMAIN": "here.test",
        }

    def receiver(self, *arguments: str) -> Service:
        where = ("--store", self.url, "--store-fallback", self.fallback)
        return self.relay.receiver(*where, *arguments).start()

    def forwarder(self, sink: Sink) -> Service:
        fast = ("--retry-first", "0.2", "--retry-longest", "0.4")
        return self.relay.forwarder(sink.port, "--store", self.url, *fast).start()

    def queue(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [BIN / "emailrelay-queue", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )

    def listed(self) -> int:
        done = self.queue("list", "--json", "--limit", "0")
        assert done.returncode == 0, done.stderr
        return len(done.stdout.splitlines())


@pytest.fixture
def host(relay: Relay) -> Iterator[Host]:
    server = DatabaseServer()
    try:
        yield Host(relay, server, server.url(server.database(relay.directory), lease="10"))
    finally:
        relay.clear_away()
        server.remove()


def handed_over(host: Host) -> None:
    until(lambda: not host.relay.waiting(), "the fallback spool is empty")


def test_mail_is_taken_while_the_database_is_away_and_arrives_once(host: Host) -> None:
    sink = host.relay.sink().start()
    receiver = host.receiver()
    host.forwarder(sink)
    before = Load(receiver.port, 5, sessions=1).run()
    # A delivery whose end the database does not hear of is made again.
    until(lambda: host.listed() == 0, "all is delivered")
    host.server.stop()
    away = Load(receiver.port, 40, first=1000, sessions=5)
    away.run()
    assert not away.refused, away.refused
    assert host.relay.waiting()
    shown = host.queue("list", "--json", "--limit", "0")
    assert len(shown.stdout.splitlines()) == 40
    assert shown.returncode == 75
    assert "list the whole queue, a part is missing" in shown.stderr
    assert "40 messages" in host.queue("list").stdout

    host.server.start()
    after = Load(receiver.port, 5, first=2000, sessions=1).run()
    sink.wait_for(50)
    handed_over(host)
    until(lambda: host.listed() == 0, "both stores are empty")
    assert_each_arrived_once(before | away.acknowledged | after, sink.arrivals())
    receiver.hear("handed_over")


def test_receiver_starts_while_the_database_is_away(host: Host) -> None:
    host.server.stop()
    receiver = host.receiver()
    taken = Load(receiver.port, 10, sessions=2).run()
    host.server.start()
    sink = host.relay.sink().start()
    host.forwarder(sink)
    sink.wait_for(10)
    handed_over(host)
    assert_each_arrived_once(taken, sink.arrivals())


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_database_that_goes_and_comes_under_load_costs_no_mail(
    host: Host, how: signal.Signals
) -> None:
    sink = host.relay.sink().start()
    receiver = host.receiver("--workers", "2")
    host.forwarder(sink)
    acknowledged: dict[str, Mail] = {}
    for n in range(3):
        load = Load(receiver.port, 200, first=n * 10_000, sessions=10)
        load.start()
        load.wait_for(60)
        host.server.stop(how)
        load.wait_for(120)
        host.server.start()
        load.finish()
        acknowledged |= load.acknowledged
    sink.wait_for(len(acknowledged))
    handed_over(host)
    until(lambda: host.listed() == 0, "both stores are empty")
    arrivals = sink.arrivals()
    assert_all_arrived(acknowledged, arrivals)
    # A delivery is repeated if the database was unavailable at its end: the forwarder names each.
    unnamed = {a.queue_id for a in repeated(arrivals)} - host.relay.possible_duplicates()
    assert not unnamed


def test_receiver_that_dies_while_it_hands_over_repeats_nothing(host: Host) -> None:
    receiver = host.receiver()
    host.server.stop()
    taken = Load(receiver.port, 300, sessions=10).run()
    host.server.start()
    for _ in range(4):
        until(lambda: host.listed() > 0, "the queue can be read")
        receiver.restart()
    sink = host.relay.sink().start()
    host.forwarder(sink)
    sink.wait_for(300)
    handed_over(host)
    assert_each_arrived_once(taken, sink.arrivals())


def test_client_that_waits_for_another_host_is_told_to_come_again(host: Host) -> None:
    receiver = host.receiver("--ack", "delivered")
    host.server.stop()
    with (
        smtplib.SMTP("127.0.0.1", receiver.port, "client.test", HANG) as client,
        pytest.raises(smtplib.SMTPDataError) as refused,
    ):
        client.sendmail("ann@here.test", ["bob@there.test"], "Subject: x\r\n\r\nx\r\n")
    assert refused.value.smtp_code in (451, 452)
    assert not host.relay.waiting()


def test_programs_submit_into_the_fallback(host: Host) -> None:
    receiver = host.receiver()
    host.server.stop()
    done = subprocess.run(
        [*command("sendmail", None), "bob@there.test"],
        env=host.environment,
        input="X-Test-Id: 1\n\nhello\n",
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(host.relay.waiting()) == 2
    host.server.start()
    handed_over(host)
    receiver.hear("handed_over")
    assert host.listed() == 1
