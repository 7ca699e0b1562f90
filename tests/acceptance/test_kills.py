"""Services that are killed or stopped at any moment lose no acknowledged mail."""

import os
import random
import signal
from collections.abc import Callable, Sequence
from functools import partial

from tests.acceptance.relay import SAMPLE_FILTER, Relay, Service, Sink, until
from tests.acceptance.sink import Arrival
from tests.acceptance.source import (
    Load,
    Mail,
    assert_all_arrived,
    assert_each_arrived_once,
    repeated,
)

MESSAGES = 400
ROUNDS = 3
"""So often each service is killed."""
CONNECTIONS = 8
"""Of a forwarder: so many messages may be at their final dots when it is killed."""
PAUSE = ("--pause", "0.03")
"""The seconds that the smarthost takes for each message: time for a kill."""
CHAIN = ("--filter", str(SAMPLE_FILTER))


def edited_once(arrival: Arrival) -> bool:
    return arrival.all("X-Relayed") == ["by E-MailRelay"]


def assert_nothing_lost(
    relay: Relay, acknowledged: dict[str, Mail], sink: Sink, *, forwarders_killed: int
) -> None:
    arrivals = sink.arrivals()
    assert_all_arrived(acknowledged, arrivals, edits=edited_once)
    twice = repeated(arrivals)
    assert len(twice) <= forwarders_killed * CONNECTIONS
    unnamed = {arrival.queue_id for arrival in twice} - relay.possible_duplicates()
    assert not unnamed, f"duplicates without a word in the log: {unnamed}"


def send_while(receiver: Service, blows: Sequence[Callable[[], None]]) -> dict[str, Mail]:
    """Send mail, with a kill in the middle of each part. Return the acknowledged messages."""
    acknowledged: dict[str, Mail] = {}
    part = MESSAGES // (len(blows) + 1)
    for count, blow in enumerate((*blows, None)):
        load = Load(receiver.port, part, first=count * 10_000)
        load.start()
        if blow is not None:
            load.wait_for(part // 2)
            blow()
        load.finish()
        acknowledged |= load.acknowledged
    return acknowledged


def test_kills_of_each_service_in_turn_lose_nothing(relay: Relay) -> None:
    sink = relay.sink(*PAUSE).start()
    receiver = relay.receiver(*CHAIN).start()
    filterd = relay.filterd(*CHAIN).start()
    forwarder = relay.forwarder(sink.port, "--connections-per-route", str(CONNECTIONS)).start()

    acknowledged = send_while(
        receiver, [service.restart for service in (forwarder, filterd, receiver) * ROUNDS]
    )

    relay.drained()
    assert_nothing_lost(relay, acknowledged, sink, forwarders_killed=ROUNDS)
    relay.swept()
    assert relay.scraps() == []


def test_kills_of_all_services_at_once_lose_nothing(relay: Relay) -> None:
    def kill_all() -> None:
        for service in relay.services:
            service.send(signal.SIGKILL)
        for service in relay.services:
            service.wait()
        for service in random.sample(relay.services, len(relay.services)):
            service.start()

    sink = relay.sink(*PAUSE).start()
    receiver = relay.receiver(*CHAIN).start()
    relay.filterd(*CHAIN).start()
    relay.forwarder(sink.port, "--connections-per-route", str(CONNECTIONS)).start()

    acknowledged = send_while(receiver, [kill_all] * ROUNDS)

    relay.drained()
    assert_nothing_lost(relay, acknowledged, sink, forwarders_killed=ROUNDS)
    relay.swept()
    assert relay.scraps() == []


def test_killed_workers_are_replaced_and_lose_nothing(relay: Relay) -> None:
    two = ("--workers", "2")
    sink = relay.sink(*PAUSE).start()
    receiver = relay.receiver(*two, *CHAIN).start()
    filterd = relay.filterd(*two, *CHAIN).start()
    forwarder = relay.forwarder(
        sink.port, *two, "--connections-per-route", str(CONNECTIONS)
    ).start()
    busy = ((forwarder, "delivered"), (filterd, "passed"), (receiver, "received"))

    acknowledged = send_while(
        receiver, [partial(kill_worker, service, kind) for service, kind in busy * ROUNDS]
    )

    relay.drained()
    assert_nothing_lost(relay, acknowledged, sink, forwarders_killed=ROUNDS)
    for service, _ in busy:
        assert len(service.hear("worker_died", times=ROUNDS)) == ROUNDS
    relay.swept()
    assert relay.scraps() == []


def kill_worker(service: Service, kind: str) -> None:
    """Kill the process that has worked last and still runs."""

    def found() -> int:
        alive = set(service.workers())
        pids = [int(happening["pid"]) for happening in service.events(kind)]
        return next((pid for pid in reversed(pids) if pid in alive), 0)

    os.kill(until(found, f"a worker of {service.name} tells {kind}"), signal.SIGKILL)


def test_services_told_to_stop_under_load_do_so_in_time_and_lose_nothing(relay: Relay) -> None:
    def stop_all() -> None:
        relay.stop()
        for service in relay.services:
            service.start()

    sink = relay.sink(*PAUSE).start()
    receiver = relay.receiver(*CHAIN).start()
    relay.filterd(*CHAIN).start()
    relay.forwarder(sink.port, "--connections-per-route", str(CONNECTIONS)).start()

    acknowledged = send_while(receiver, [stop_all] * ROUNDS)

    relay.drained()
    assert_each_arrived_once(acknowledged, sink.arrivals(), edits=edited_once)
    assert relay.possible_duplicates() == set()
    relay.stop()
    assert relay.scraps() == []
