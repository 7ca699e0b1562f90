"""Reception: the messages per second that smtp-source can send while nothing is forwarded."""

from dataclasses import replace
from functools import partial

from bench.case import Bench, Case, Figures, Goal, Wanted
from bench.load import KIB, MIB, Load, warm_up
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


def _case(load: Load, *goals: Goal, short: float | None = None) -> Case:
    return Case(
        name=f"accept-{load.name}",
        words=f"accept {load.words}",
        contestants={"ours": partial(_ours, load=load), "postfix": partial(_postfix, load=load)},
        goals=goals,
        short=short,
    )


def _rate(synced: tuple[float, float], log: tuple[float, float]) -> Goal:
    return Goal(figure=RATE, to="postfix", synced=Wanted(*synced), log=Wanted(*log))


def _with_workers(load: Load) -> Case:
    """One process for each CPU, since Postfix starts as many as it needs."""
    case = _case(load)
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
    return _case(_load(4000 if sessions > 1 else 1500, 10 * KIB, sessions, keep=keep))


CASES = (
    _case(_load(1500, 10 * KIB, 1), _rate((1.2, 1.5), (2, 3)), short=0.3),
    _case(_load(4000, 10 * KIB, 20), _rate((1, 1.8), (1.5, 3)), short=0.3),
    _case(_load(4000, 10 * KIB, 100), _rate((1.4, 2.4), (1.5, 3.5)), short=0.3),
    _case(_load(1500, 10 * KIB, 1, keep=False), _rate((1, 1.2), (1.2, 1.6))),
    _case(_load(4000, 10 * KIB, 20, keep=False), _rate((1, 1.2), (1.2, 1.6)), short=0.3),
    _case(_load(4000, 10 * KIB, 100, keep=False), _rate((1, 1.2), (1.2, 1.6))),
    _case(_load(4000, KIB, 20)),
    _case(_load(400, MIB, 20), _rate((1.8, 2.3), (1.8, 2.3)), short=0.3),
    _case(_load(24, 25 * MIB, 4), _rate((2.5, 3), (2.5, 3)), short=0.5),
    _with_workers(_load(4000, 10 * KIB, 20)),
    _with_workers(_load(4000, 10 * KIB, 100)),
)
