"""Reception: the messages per second that smtp-source can send while nothing is forwarded."""

from dataclasses import replace
from functools import partial

from bench.case import Bench, Case, Figures, Goal
from bench.load import KIB, MIB, Load, size, warm_up
from bench.machine import CPUS, cpu
from bench.peers import HELD, Peer, ours, postfix

RATE, CPU = "accepted/s", "CPU ms a message"


def taken(peer: Peer, load: Load) -> Figures:
    """Send the load to a server that has warmed up."""
    warm_up(peer.port, load.sessions)
    before = cpu(peer.pids())
    seconds = load.send(peer.port)
    spent = cpu(peer.pids()) - before
    return {RATE: load.messages / seconds, CPU: 1000 * spent / load.messages}


def _ours(bench: Bench, load: Load, workers: int = 1) -> Figures:
    with ours(bench, forward_to=None, workers=workers) as peer:
        return taken(peer, load.scaled(bench.scale))


def _postfix(bench: Bench, load: Load) -> Figures:
    # Held mail costs Postfix as much as other mail, without a delivery beside it.
    with postfix(bench, more=HELD) as peer:
        return taken(peer, load.scaled(bench.scale))


def _case(load: Load, synced: float, log: float, short: float | None = None) -> Case:
    goals = (Goal(figure=RATE, to="postfix", synced=synced, log=log),) if synced else ()
    return Case(
        name=f"accept-{size(load.octets).replace(' ', '')}-{load.sessions}{'' if load.keep else '-one'}",
        words=f"accept {load.words}",
        contestants={"ours": partial(_ours, load=load), "postfix": partial(_postfix, load=load)},
        goals=goals,
        short=short,
    )


def _with_workers(load: Load) -> Case:
    """One process for each CPU, since Postfix starts as many as it needs."""
    case = _case(load, 0, 0)
    return replace(
        case,
        name=f"{case.name}-workers",
        words=f"{case.words}, a worker for each CPU",
        contestants={**case.contestants, "ours": partial(_ours, load=load, workers=CPUS)},
    )


def _load(messages: int, octets: int, sessions: int, *, keep: bool = True) -> Load:
    return Load(messages=messages, octets=octets, sessions=sessions, keep=keep)


def reception(sessions: int, *, keep: bool) -> Case:
    """Return the case with this many sessions, at a count of messages that takes as long as any."""
    return _case(_load(4000 if sessions > 1 else 1500, 10 * KIB, sessions, keep=keep), 0, 0)


CASES = (
    _case(_load(1500, 10 * KIB, 1), 1.2, 2, 0.3),
    _case(_load(4000, 10 * KIB, 20), 1.8, 3.5, 0.3),
    _case(_load(4000, 10 * KIB, 100), 2.4, 4, 0.3),
    _case(_load(1500, 10 * KIB, 1, keep=False), 1.0, 1.5),
    _case(_load(4000, 10 * KIB, 20, keep=False), 1.2, 1.5, 0.3),
    _case(_load(4000, 10 * KIB, 100, keep=False), 1.2, 1.7),
    _case(_load(4000, KIB, 20), 0, 0),
    _case(_load(400, MIB, 20), 2.3, 2.3, 0.3),
    _case(_load(24, 25 * MIB, 4), 1.9, 1.9, 0.5),
    _with_workers(_load(4000, 10 * KIB, 20)),
    _with_workers(_load(4000, 10 * KIB, 100)),
)
