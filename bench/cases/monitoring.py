"""The cost of counters and states for the monitor: CPU a message, and a count of a deep queue."""

import sys
import time
from functools import partial

from bench.case import Bench, Bound, Case, Figures, Goal
from bench.cases.accept import CPU
from bench.cases.relay import relayed
from bench.generate import fill
from bench.load import KIB, Load, warm_up
from bench.peers import ours
from bench.sinks import sink
from emailrelay.events import Delivered, Received
from emailrelay.metrics.counters import Counters
from emailrelay.queue_id import QueueId
from emailrelay.store.quick_chooser import view_at

_LOAD = Load(messages=4000, octets=10 * KIB, sessions=20)
_OFF, _ON = "off", "on"
_LATER = 86_400.0
_COUNT = "ms a count"
_DEPTH = 100_000
_COUNTING = "µs CPU a message"


def _relay(bench: Bench, *, counted: bool) -> Figures:
    load = _LOAD.scaled(bench.scale)
    told = ["--runtime-dir", str(bench.directory / "run")] if counted else []
    with (
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port, receiver=told, forwarder=told) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _events(bench: Bench) -> Figures:
    """Count the events of relayed messages: this needs no calm machine."""
    message = QueueId("1795950612350.2594304671154.6")
    events = (
        Received(id=message, sender="a@b", recipients=1, size=10240, client="::1", seconds=0.002),
        Delivered(
            id=message,
            peer="192.0.2.1:25",
            recipients=1,
            reply="250 ok",
            seconds=0.02,
            route="default",
            in_queue=0.03,
        ),
    )
    counters = Counters(bench.directory / "run", lambda event: sys.exit(str(event)))
    messages = bench.count(100_000)
    for event in events:
        counters(event)
    began = time.process_time()
    for _ in range(messages):
        for event in events:
            counters(event)
    spent = time.process_time() - began
    counters.close()
    return {_COUNTING: 1e6 * spent / messages}


def _count(bench: Bench) -> Figures:
    """Count a queue as the monitor does, which looks at most once in a hundred times as long."""
    spool = bench.directory / "deep"
    fill(spool, bench.count(_DEPTH), 2 * KIB, due_in=_LATER)

    with view_at(str(spool)) as view:
        began = time.process_time()
        counted = list(view.counts(time.time(), names_only=True))
        spent = time.process_time() - began
    if sum(count.messages for count in counted) < bench.count(_DEPTH):
        sys.exit(f"some messages were not counted: {counted}")
    return {_COUNT: 1000 * spent}


CASES = (
    Case(
        name="metrics",
        words="relay with runtime_dir, for metrics and health",
        contestants={_OFF: partial(_relay, counted=False), _ON: partial(_relay, counted=True)},
        goals=(Goal(figure=CPU, of=_ON, to=_OFF, bound=Bound.AT_MOST, synced=1.03),),
        short=0.3,
    ),
    Case(
        name="metrics-events",
        words="count the events of a relayed message",
        contestants={"counters": _events},
        goals=(Goal(figure=_COUNTING, of="counters", bound=Bound.AT_MOST, synced=30),),
        short=0.3,
    ),
    Case(
        name="count-100000",
        words="count a queue of 100,000",
        contestants={"spool": _count},
        goals=(Goal(figure=_COUNT, of="spool", bound=Bound.AT_MOST, synced=500),),
    ),
)
