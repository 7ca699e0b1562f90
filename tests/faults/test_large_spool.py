"""A million messages that cannot be sent: new mail does not wait, and they cost little."""

import time

from tests.acceptance.relay import Relay, Service, free_port, until
from tests.acceptance.source import Load, assert_each_arrived_once
from tests.faults.extent import extent
from tests.faults.gauge import KIB, MIB, Gauge
from tests.faults.report import Report
from tests.faults.stock import envelope, put_pair

WAITING = extent(10_000, 1_000_000)
NEW = 50
EACH = KIB
"""Octets of memory for each message that waits, in each process that forwards."""
ONCE = 16 * MIB
"""The memory of a busy forwarder with any spool."""
STEADY = extent(3, 60)
"""Looks at the memory, a second apart, between which it does not grow any more."""


def test_new_mail_passes_a_million_that_waits(relay: Relay, report: Report) -> None:
    relay.spool.mkdir(mode=0o770)
    away = envelope(forward_to=f"127.0.0.1:{free_port()}")
    for number in range(WAITING):
        put_pair(str(relay.spool), number, b"", away)
    sink = relay.sink().start()
    began = time.monotonic()
    forwarder = relay.forwarder(sink.port).start()
    receiver = relay.receiver().start()
    started = time.monotonic() - began
    first = Gauge.of(forwarder.pid)

    load = Load(receiver.port, NEW)
    acknowledged = load.run()

    arrivals = sink.wait_for(NEW)
    passed = time.monotonic() - began
    assert_each_arrived_once(acknowledged, arrivals)
    forwarder.hear("smarthost_trouble")
    most = _until_steady(forwarder)
    report.figure(
        f"{WAITING} messages that wait",
        f"both services ready after {started:.1f} s,"
        f" {NEW} new messages delivered after {passed:.1f} s;"
        f" forwarder first {first}, then {most}; receiver {Gauge.of(receiver.pid)}",
    )
    assert most.peak <= first.resident + ONCE + WAITING * EACH
    assert Gauge.of(receiver.pid).peak <= first.resident + ONCE + WAITING * EACH // 4
    until(lambda: len(relay.waiting()) == 2 * WAITING, "only those that wait are left")
    relay.stop()


def _until_steady(service: Service) -> Gauge:
    """Wait until a process needs no more memory than before."""
    steady, most = 0, Gauge.of(service.pid)
    while steady < STEADY:
        time.sleep(1)
        now = Gauge.of(service.pid)
        steady = steady + 1 if now.peak <= most.peak + MIB else 0
        most = now
    return most
