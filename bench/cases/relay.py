"""Relaying: from smtp-source's first connection to the sink's last final dot."""

import time
from dataclasses import replace
from functools import partial

from bench.case import Bench, Bound, Case, Figures, Goal
from bench.cases.accept import CPU
from bench.load import KIB, MIB, Load, size, warm_up
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


def _case(
    load: Load, rate: tuple[float, float], spent: tuple[float, float] | None, short: float
) -> Case:
    goals = [Goal(figure=RATE, to="postfix", synced=rate[0], log=rate[1])]
    if spent:
        bound = Bound.AT_MOST
        goals.append(Goal(figure=CPU, to="postfix", bound=bound, synced=spent[0], log=spent[1]))
    return Case(
        name=f"relay-{size(load.octets).replace(' ', '')}-{load.sessions}{'' if load.keep else '-one'}",
        words=f"relay {load.words}",
        contestants={"ours": partial(_ours, load=load), "postfix": partial(_postfix, load=load)},
        goals=tuple(goals),
        short=short,
    )


def _with_workers(load: Load) -> Case:
    """As many processes of each service as there are CPUs, as Postfix has as many as it likes."""
    case = _case(load, (0, 0), None, 0.3)
    return replace(
        case,
        name=f"{case.name}-workers",
        words=f"{case.words}, a worker for each CPU",
        contestants={**case.contestants, "ours": partial(_ours, load=load, workers=CPUS)},
        goals=(),
    )


CASES = (
    _case(Load(messages=4000, octets=10 * KIB, sessions=20), (1.7, 3), (0.5, 0.3), 0.3),
    _case(Load(messages=4000, octets=10 * KIB, sessions=20, keep=False), (1.7, 3), (0.5, 0.3), 0.3),
    _case(Load(messages=200, octets=MIB, sessions=4), (1.5, 1.5), None, 0.5),
    _case(Load(messages=12, octets=25 * MIB, sessions=2), (1.5, 1.5), None, 1),
    _with_workers(Load(messages=4000, octets=10 * KIB, sessions=20)),
)
