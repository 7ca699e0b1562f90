"""Mail of every fate for a long time: the books balance by the log alone, and nothing grows."""

import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.acceptance.relay import BIN, Relay, Service, Sink, until
from tests.acceptance.source import Load, Mail, assert_all_arrived, repeated
from tests.faults.extent import extent
from tests.faults.gauge import MIB, Gauge, connections_to
from tests.faults.ledger import Ledger
from tests.faults.report import Report

SECONDS = float(os.environ.get("FAULTS_SOAK", extent(5, 1800)))
WARM = 60.0
"""Seconds of a run in which something can be said of growth."""
READINGS = 40
TURN = 50
"""Messages between two looks at the clock."""
A_SECOND = 50.0
"""Messages, at the most: a relay that is busy, and not one that is overrun."""
BACKLOG = 300
GROWTH = 4 * MIB

FILTER = """#!/bin/sh
case $(grep -a -o -m 1 'To-Remote: [a-z]*' "$2") in
*dropped) exit 100 ;;
*unwanted) echo '<<550 5.7.1 not wanted>>'; exit 1 ;;
esac
sed -i '1i X-Relayed: yes\\r' "$1"
"""


def fate(mail: Mail) -> list[str]:
    """Choose recipients; their names choose the fate of the message."""
    match mail.number % 20:
        case 3:
            return [f"later{mail.number}@sink.test"]
        case 7:
            return ["refused@sink.test"]
        case 11:
            return ["to@sink.test", "refused@sink.test", f"later{mail.number}@sink.test"]
        case 13:
            return ["dropped@sink.test"]
        case 17:
            return ["unwanted@sink.test"]
        case _:
            return ["to@sink.test"]


@pytest.mark.timeout(2 * SECONDS + 600)
def test_the_books_balance_and_nothing_grows(relay: Relay, report: Report) -> None:
    program = relay.directory / "filter"
    program.write_text(FILTER)
    program.chmod(0o755)
    chain = ("--filter", str(program))
    sink = relay.sink().start()
    receiver = relay.receiver(*chain).start()
    relay.filterd(*chain).start()
    relay.forwarder(sink.port, "--retry-first", "0.5", "--retry-longest", "0.5").start()

    acknowledged = dict[str, Mail]()
    _send_some(receiver, acknowledged)  # so that one-time descriptors are open
    before = _at_rest(relay, sink)
    readings = _send(relay, receiver, acknowledged)
    after = _at_rest(relay, sink)
    relay.stop()
    ledger = Ledger()
    ledger.read(service.log for service in relay.services)
    report.figure(f"{SECONDS:.0f} s", str(ledger))
    for service in relay.services:
        report.figure(service.name, _growth(readings[service]))
        report.figure(
            f"{service.name} at rest", f"before {before[service]}; after {after[service]}"
        )
    assert ledger.faults() == []
    assert ledger.queued == set()
    assert len(ledger.accepted) == len(acknowledged)
    # The records of the spool, the smarthost and the clients agree.
    assert {_id(path) for path in relay.spool.glob("*.envelope.bad")} == ledger.failed
    arrivals = sink.arrivals()
    assert {arrival.queue_id for arrival in arrivals} == ledger.delivered.keys()
    assert sum(len(arrival.recipients) for arrival in arrivals) == ledger.delivered.total()
    taken = {id_: mail for id_, mail in acknowledged.items() if mail.number % 20 not in (7, 13, 17)}
    assert_all_arrived(taken, arrivals, edits=lambda arrival: arrival.all("X-Relayed") == ["yes"])
    assert len(repeated(arrivals)) == len([m for m in taken.values() if m.number % 20 == 11])
    assert ledger.lines.keys().isdisjoint({"internal_error", "store_trouble", "set_aside"})
    assert _told(relay) == ledger.failed
    assert relay.scraps() == []
    for service in relay.services:
        # Every descriptor that mail had needed is given back.
        assert after[service].descriptors <= before[service].descriptors
        if SECONDS >= WARM:
            assert_nothing_grows(readings[service])


def assert_nothing_grows(readings: Sequence[Gauge]) -> None:
    """Compare the time after the warm-up with the last time, a quarter of the whole each."""
    part = len(readings) // 4
    early, late = readings[part : 2 * part], readings[-part:]
    assert _resident(late) - _resident(early) <= GROWTH
    assert min(g.threads for g in late) <= min(g.threads for g in early) + 5


def _send_some(receiver: Service, acknowledged: dict[str, Mail]) -> None:
    load = Load(receiver.port, TURN, sessions=5, first=len(acknowledged), recipients=fate)
    acknowledged |= load.run()
    assert not load.refused


def _at_rest(relay: Relay, sink: Sink) -> dict[Service, Gauge]:
    """Wait until no mail is under way and no session is kept; give the readings then."""
    # Two looks: reading a directory can miss a name that is being renamed.
    until(lambda: not (_moving(relay.spool) or _moving(relay.spool)), "only what failed is left")
    until(lambda: not connections_to(sink.port), "no session is kept")
    return {service: Gauge.of(service.pid) for service in relay.services}


def _send(
    relay: Relay, receiver: Service, acknowledged: dict[str, Mail]
) -> dict[Service, list[Gauge]]:
    readings: dict[Service, list[Gauge]] = {service: [] for service in relay.services}
    began, sent = time.monotonic(), len(acknowledged)
    while (gone := time.monotonic() - began) < SECONDS:
        _send_some(receiver, acknowledged)
        if len(readings[receiver]) < READINGS * gone / SECONDS:
            for service in relay.services:
                readings[service].append(Gauge.of(service.pid))
        # On a machine that has other work the relay sets the pace.
        until(lambda: len(_moving(relay.spool)) < BACKLOG, "the relay keeps up")
        ahead = (len(acknowledged) - sent) / A_SECOND - (time.monotonic() - began)
        time.sleep(max(0.0, ahead))  # the pace, not a wait for anything
    return readings


def _moving(spool: Path) -> list[Path]:
    return [path for path in spool.glob("*.envelope*") if path.suffix != ".bad"]


def _id(path: Path) -> str:
    return path.name.removeprefix("emailrelay.").removesuffix(".envelope.bad")


def _told(relay: Relay) -> set[str]:
    """Have the senders told of the failures, and give their ids."""
    inbox = relay.directory / "inbox"
    command: list[str | Path] = [
        BIN / "emailrelay-notify",
        "--maildir",
        inbox,
        "--verbose",
        relay.spool,
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    told = {line.partition(":")[0] for line in said.splitlines() if line.endswith(": sender told")}
    assert len(list((inbox / "new").iterdir())) == len(told)
    return told


def _resident(readings: Sequence[Gauge]) -> float:
    return statistics.median(gauge.resident for gauge in readings)


def _growth(readings: Sequence[Gauge]) -> str:
    quarters = [readings[n * len(readings) // 4] for n in range(4)] + [readings[-1]]
    return "; ".join(str(gauge) for gauge in quarters)
