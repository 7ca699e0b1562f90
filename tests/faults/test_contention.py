"""Many independent forwarders, and a process that removes their locks: no mail arrives twice."""

from tests.acceptance.relay import Relay, until
from tests.acceptance.source import Mail, assert_each_arrived_once
from tests.faults.extent import extent
from tests.faults.interference import Interference
from tests.faults.report import Report
from tests.faults.stock import lay_in

FORWARDERS = extent(3, 16)
MESSAGES = extent(600, 20_000)
CONNECTIONS = 4


def test_many_forwarders_and_a_vandal_deliver_each_message_once(
    relay: Relay, report: Report
) -> None:
    laid = lay_in(relay.spool, (Mail(number, 500) for number in range(1, MESSAGES + 1)))
    sink = relay.sink("--pause", "0.002").start()
    forwarders = [
        relay.forwarder(
            sink.port, "--connections-per-route", str(CONNECTIONS), name=f"forwarder{number}"
        )
        for number in range(FORWARDERS)
    ]
    with Interference(relay.spool) as interference:
        for forwarder in forwarders:
            forwarder.spawn()
        until(lambda: not list(relay.spool.glob("*.envelope")), "the spool is empty", 1200)
    for forwarder in forwarders:
        forwarder.hear("started")
    # Nothing is left to lock when all is done: not a file for each message.
    locks = [path for name in (".doubt", ".slots", ".waiting") for path in _files(relay, name)]
    assert len(locks) <= FORWARDERS * (CONNECTIONS + 2)
    relay.stop()

    assert_each_arrived_once(laid, sink.arrivals())
    shares = [len(forwarder.events("delivered")) for forwarder in forwarders]
    report.figure(
        f"{MESSAGES} messages, {FORWARDERS} forwarders",
        f"{len(sink.arrivals())} arrivals, {interference.actions} actions of the interference,"
        f" {len(locks)} locks left;"
        f" shares {sorted(shares)}",
    )
    assert sum(shares) == MESSAGES
    assert sum(share > 0 for share in shares) > 1
    assert interference.actions > 0
    assert relay.possible_duplicates() == set()
    assert not [h for f in forwarders for h in f.events("set_aside")]
    assert not [name for name in relay.waiting() if not name.endswith(".lock")]


def _files(relay: Relay, name: str) -> list[str]:
    directory = relay.spool / name
    return [path.name for path in directory.iterdir()] if directory.is_dir() else []
