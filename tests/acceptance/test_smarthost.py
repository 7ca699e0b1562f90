"""Mail waits for a smarthost that is away or says no, and goes when it can."""

import signal
from pathlib import Path

from tests.acceptance.relay import Relay, Service, Sink, free_port
from tests.acceptance.source import Load, Mail, assert_each_arrived_once

MESSAGES = 100


def fill(relay: Relay, count: int = MESSAGES) -> dict[str, Mail]:
    """Put mail into the spool through a receiver of its own."""
    receiver = relay.receiver(name="filler").start()
    acknowledged = Load(receiver.port, count).run()
    assert receiver.stop() == 0
    return acknowledged


def renamed(spool: Path, suffix: str, to: str) -> int:
    paths = list(spool.glob(f"*.envelope{suffix}"))
    for path in paths:
        path.rename(path.with_name(path.name.removesuffix(suffix) + to))
    return len(paths)


def once(relay: Relay, name: str, port: int) -> tuple[Service, int]:
    """Make a single pass; return the finished process."""
    forwarder = relay.forwarder(port, "--once", name=name)
    forwarder.spawn()
    return forwarder, forwarder.wait()


def assert_delivered(relay: Relay, acknowledged: dict[str, Mail], sink: Sink) -> None:
    relay.drained()
    assert_each_arrived_once(acknowledged, sink.arrivals())


def test_deferred_mail_goes_at_a_flush(relay: Relay) -> None:
    port = free_port()
    acknowledged = fill(relay)
    forwarder = relay.forwarder(
        port, "--retry-first", "100000", "--retry-longest", "100000"
    ).start()
    forwarder.hear("smarthost_trouble")
    forwarder.hear("deferred")
    assert len(relay.waiting()) == 2 * len(acknowledged)

    sink = relay.sink(port=port).start()
    forwarder.send(signal.SIGUSR1)

    assert_delivered(relay, acknowledged, sink)


def test_deferred_mail_goes_by_itself_when_the_smarthost_is_back(relay: Relay) -> None:
    port = free_port()
    acknowledged = fill(relay)
    forwarder = relay.forwarder(port, "--retry-first", "0.2", "--retry-longest", "0.4").start()
    forwarder.hear("smarthost_trouble")

    sink = relay.sink(port=port).start()

    assert_delivered(relay, acknowledged, sink)
    forwarder.hear("smarthost_back")


def test_mail_turned_away_for_now_is_tried_again_at_its_time(relay: Relay) -> None:
    port = free_port()
    acknowledged = fill(relay, 10)
    sink = relay.sink("--refuse", "451 4.3.0 not now", port=port).start()
    forwarder = relay.forwarder(port, "--retry-first", "0.3", "--retry-longest", "0.3").start()
    assert forwarder.hear("deferred")[0]["reason"].count("451 4.3.0 not now") == 1

    sink.kill()
    willing = relay.sink(name="willing", port=port).start()

    assert_delivered(relay, acknowledged, willing)
    assert sink.arrivals() == []


def test_refused_mail_is_kept_with_its_reason_and_tried_again_when_renamed_back(
    relay: Relay,
) -> None:
    port = free_port()
    acknowledged = fill(relay, 10)
    sink = relay.sink("--refuse", "550 5.1.1 nobody of that name", port=port).start()
    forwarder = relay.forwarder(port).start()
    forwarder.hear("failed", times=10)
    envelopes = sorted(relay.spool.glob("*.envelope.bad"))
    assert len(envelopes) == 10
    for path in envelopes:
        assert "nobody of that name" in path.read_text()

    sink.kill()
    willing = relay.sink(name="willing", port=port).start()
    assert renamed(relay.spool, ".bad", "") == 10

    assert_delivered(relay, acknowledged, willing)


def test_a_single_pass_tells_by_its_exit_status_what_became_of_the_mail(relay: Relay) -> None:
    port = free_port()
    assert once(relay, "nothing-to-do", port)[1] == 0

    acknowledged = fill(relay)
    away, status = once(relay, "away", port)
    assert status == 1
    assert away.events("smarthost_trouble")
    assert len(relay.waiting()) == 2 * len(acknowledged)

    sink = relay.sink(port=port).start()
    assert once(relay, "delivered", port)[1] == 0
    assert_delivered(relay, acknowledged, sink)
    assert once(relay, "nothing-left", port)[1] == 0


def test_a_single_pass_over_refused_mail_fails(relay: Relay) -> None:
    fill(relay, 5)
    sink = relay.sink("--refuse", "554 5.7.1 no").start()

    assert once(relay, "refused", sink.port)[1] == 1

    assert len(list(relay.spool.glob("*.envelope.bad"))) == 5
    # Failed mail is the operator's: nothing is left that a pass could forward.
    assert once(relay, "again", sink.port)[1] == 0
