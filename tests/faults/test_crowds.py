"""Very many clients: they cost little, delay no other client, and leave no trace."""

import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay, Service, until
from tests.acceptance.source import Load, assert_all_arrived
from tests.faults.crowd import Client, Crowd, descriptors
from tests.faults.extent import extent
from tests.faults.gauge import KIB, MIB, Gauge
from tests.faults.report import Report

IDLE = extent(1000, 5000)
FIRST = 100
"""Clients that come first, so that one-time allocations do not count."""
PER_SESSION = 25 * KIB
SLOW = extent(100, 2000)
FLOOD = extent(500, 30_000)
GROWTH = 5 * MIB
LINES_A_SECOND = 100


def _many(relay: Relay, count: int, *arguments: str) -> Service:
    allowed = ("--connections", str(count), "--client-connections", str(count))
    return relay.receiver(*allowed, *arguments).start()


def test_idle_sessions_cost_25_kib_each(relay: Relay, report: Report) -> None:
    with descriptors(2 * IDLE + 200), Crowd() as crowd:
        receiver = _many(relay, IDLE, "--idle-timeout", "600", "--first-mail-timeout", "600")
        _begin_mail(crowd.come(receiver.port, FIRST))
        before = Gauge.of(receiver.pid)
        _begin_mail(crowd.come(receiver.port, IDLE - FIRST))
        after = Gauge.of(receiver.pid)

        one_more = Client(receiver.port)
        assert one_more.reply().startswith("421 ")
        one_more.close()
        crowd.clients.pop().close()
        until(lambda: Gauge.of(receiver.pid).descriptors < after.descriptors, "one has left")
        assert len(Load(receiver.port, 1, sessions=1).run()) == 1

    each = (after.resident - before.resident) / (IDLE - FIRST)
    report.figure(f"{IDLE} idle sessions", f"{each / KIB:.1f} KiB each, in all {after}")
    assert each <= PER_SESSION
    until(
        lambda: Gauge.of(receiver.pid).descriptors <= before.descriptors - FIRST + 2,
        "all descriptors are closed",
    )


def test_slow_clients_are_disconnected_and_delay_no_other_client(
    relay: Relay, report: Report
) -> None:
    with descriptors(4 * SLOW + 400), Crowd() as crowd:
        receiver = _many(relay, 2 * SLOW, "--idle-timeout", "2", "--session-timeout", "4")
        sink = relay.sink().start()
        relay.forwarder(sink.port).start()
        for client in crowd.come(receiver.port, SLOW)[::2]:
            client.say(b"EHLO c\r\nMAIL FROM:<s@x>\r\nRCPT TO:<r@y>\r\nDATA\r\n")
        load = Load(receiver.port, 50, sessions=5)
        load.start()
        crowd.drip(lambda _: b"x", 0.5)  # part of a command here, of a content there
        load.finish()
        report.figure(f"{SLOW} clients of an octet a while", str(Gauge.of(receiver.pid)))
    relay.drained()
    assert_all_arrived(load.acknowledged, sink.arrivals())
    until(lambda: not list((relay.spool / ".new").iterdir()), "no draft is left")


@pytest.mark.parametrize("manner", ["close", "reset", "amid"])
def test_a_flood_of_connections_leaves_no_trace(relay: Relay, report: Report, manner: str) -> None:
    receiver = _many(relay, 500)
    # One-time allocations have happened before.
    assert len(Load(receiver.port, 1, sessions=1).run()) == 1
    _flood(receiver.port, FLOOD // 4, manner)
    before, lines = Gauge.of(receiver.pid), _lines(receiver.log)
    seconds = _flood(receiver.port, FLOOD, manner)
    assert len(Load(receiver.port, 1, sessions=1, first=10).run()) == 1
    until(lambda: Gauge.of(receiver.pid).descriptors <= before.descriptors + 1, "all have gone")
    after, told = Gauge.of(receiver.pid), _lines(receiver.log) - lines
    report.figure(
        f"{FLOOD} connections that come and {manner}",
        f"{FLOOD / seconds:.0f}/s; before {before}; after {after}; {told} lines of log",
    )
    assert after.resident - before.resident <= GROWTH
    assert after.threads <= before.threads + 1
    assert told <= LINES_A_SECOND * (seconds + 1)


def test_one_address_does_not_take_all_places(relay: Relay) -> None:
    receiver = relay.receiver("--client-connections", "20").start()
    with Crowd() as crowd:
        _begin_mail(crowd.come(receiver.port, 20))
        more = [Client(receiver.port) for _ in range(30)]
        assert [client.to_the_end()[:4] for client in more] == ["421 "] * 30
        for client in more:
            client.close()


def _begin_mail(clients: Iterable[Client]) -> None:
    """Have clients go so far that they are not sent away for others."""
    for client in clients:
        for command in ("EHLO client.test", "MAIL FROM:<s@x.test>"):
            assert client.ask(command).startswith("250 ")


def _flood(port: int, count: int, manner: str) -> float:
    """Let so many come and go, one after another; give the seconds it took."""
    began = time.monotonic()
    for _ in range(count):
        client = Client(port)
        if manner == "reset":
            client.reset()
            continue
        assert client.reply().startswith("220 ")
        if manner == "amid":
            client.say(b"EHLO c\r\nMAIL FROM:<s@x>\r\n")
            assert client.reply().startswith("250 ")
            client.reset()
        client.close()
    return time.monotonic() - began


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")
