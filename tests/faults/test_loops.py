"""A relay that forwards to itself ends the loop, and logs the reason."""

from tests.acceptance.relay import Relay
from tests.acceptance.source import Load
from tests.faults.ledger import Ledger

HOPS = 100
"""RFC 5321 section 6.3: no loop is assumed before so many."""


def test_mail_that_goes_round_in_a_circle_fails_in_the_end(relay: Relay) -> None:
    receiver = relay.receiver().start()
    forwarder = relay.forwarder(receiver.port).start()

    Load(receiver.port, 1, sessions=1, size=500).run()

    (told,) = forwarder.hear("failed")
    assert "5.4.6" in str(told["reason"])
    relay.stop()
    ledger = Ledger()
    ledger.read(service.log for service in relay.services)
    # Our own client's copy, and one for each time round; none of them forked.
    assert HOPS <= len(ledger.accepted) <= HOPS + 2
    assert len(ledger.failed) == 1
    assert ledger.queued == set()
    assert ledger.faults() == []
    (kept,) = relay.spool.glob("*.envelope.bad")
    assert b"5.4.6" in kept.read_bytes()
    assert len(relay.waiting()) == 2
