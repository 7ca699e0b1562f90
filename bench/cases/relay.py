"""Relaying: from smtp-source's first connection to the sink's last final dot."""

import time
from dataclasses import replace
from functools import partial

from bench.case import Bench, Bound, Case, Figures, Goal, Wanted
from bench.cases.accept import CPU
from bench.load import KIB, MIB, Load, warm_up
from bench.machine import CPUS, at_rest, cpu, forget_peaks, peak, pss
from bench.peers import Peer, ours, postfix
from bench.sinks import Sink, sink

RATE, MEMORY = "relayed/s", "peak MiB"
_PATIENCE = 200.0
_SETTLING = 0.3
"""Seconds in which a server ends its work after the last delivery."""


def relayed(peer: Peer, target: Sink, load: Load) -> Figures:
    """Send the load to a server that has warmed up, and wait until the sink has it all."""
    pids = peer.pids()
    at_rest(pids)
    idle = pss(pids)
    forget_peaks(pids)
    before, began = cpu(pids), time.monotonic()
    load.send(peer.port)
    target.wait(_PATIENCE)
    seconds = time.monotonic() - began
    time.sleep(_SETTLING)  # the last settlements cost CPU behind the sink's last answer
    return {
        RATE: load.messages / seconds,
        CPU: 1000 * (cpu(pids) - before) / load.messages,
        MEMORY: peak(pids),
        "idle PSS MiB": idle,
    }


def _ours(bench: Bench, load: Load, workers: int = 1) -> Figures:
    load = load.scaled(bench.scale)
    with (
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port, workers=workers) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _postfix(bench: Bench, load: Load) -> Figures:
    load = load.scaled(bench.scale)
    with (
        sink(messages=load.messages + load.sessions) as target,
        postfix(bench, forward_to=target.port) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _case(load: Load, *goals: Goal, short: float) -> Case:
    return Case(
        name=f"relay-{load.name}",
        words=f"relay {load.words}",
        contestants={"ours": partial(_ours, load=load), "postfix": partial(_postfix, load=load)},
        goals=goals,
        short=short,
    )


def _rate(synced: tuple[float, float], log: tuple[float, float]) -> Goal:
    return Goal(figure=RATE, to="postfix", synced=Wanted(*synced), log=Wanted(*log))


def _with_workers(load: Load) -> Case:
    """One process of each service for each CPU, since Postfix starts as many as it needs."""
    case = _case(load, short=0.3)
    return replace(
        case,
        name=f"{case.name}-workers",
        words=f"{case.words}, a worker for each CPU",
        contestants={**case.contestants, "ours": partial(_ours, load=load, workers=CPUS)},
    )


CASES = (
    _case(
        Load(messages=4000, octets=10 * KIB, sessions=20),
        _rate((1.4, 2), (2, 3.5)),
        Goal(
            figure=CPU,
            to="postfix",
            bound=Bound.AT_MOST,
            synced=Wanted(0.5, 0.35),
            log=Wanted(0.45, 0.25),
        ),
        short=0.3,
    ),
    _case(
        Load(messages=4000, octets=10 * KIB, sessions=20, keep=False),
        _rate((1.2, 1.6), (1.3, 2.5)),
        short=0.3,
    ),
    _case(Load(messages=200, octets=MIB, sessions=4), _rate((1.3, 1.6), (1.4, 1.6)), short=0.5),
    _case(Load(messages=12, octets=25 * MIB, sessions=2), _rate((1.3, 1.6), (1.4, 1.6)), short=1),
    _with_workers(Load(messages=4000, octets=10 * KIB, sessions=20)),
)
