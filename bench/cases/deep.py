"""A deep queue: reception while the smarthost is down, memory, draining, another start."""

import os
import time
from functools import partial
from pathlib import Path

from bench.case import Bench, Bound, Case, Figures, Goal, Wanted
from bench.cases import accept
from bench.cases.relay import RATE
from bench.generate import fill
from bench.load import KIB, Load
from bench.machine import at_rest, pss
from bench.peers import HELD, UNSYNCED, ours, postfix
from bench.probe import stamps
from bench.sinks import sink

_DEPTH = 100_000
_DRAINED = 10_000
_OCTETS = 2 * KIB
_LATER = 3600.0
"""Seconds until generated messages are due: longer than any measurement."""
_QUIET = 1.0
_PATIENCE = 230.0

A_MESSAGE = "octets a queued message"
FIRST = "start to first delivery, s"


def _accept(bench: Bench, depth: int) -> Figures:
    """Accept mail beside a queue of that depth, with a forwarder whose smarthost is down."""
    spool = bench.directory / "deep"
    fill(spool, bench.count(depth, least=0), _OCTETS, due_in=_LATER)
    os.sync()  # a slow first sync would make the receiver avoid syncs of the file system
    with ours(bench, spool=spool) as peer:
        at_rest(peer.pids())
        load = Load(messages=4000, octets=_OCTETS, sessions=20)
        return accept.taken(peer, load.scaled(min(1.0, bench.scale * 4)))


def _memory(bench: Bench) -> Figures:
    depth = bench.count(_DEPTH)
    shallow = _forwarder_pss(bench, bench.directory / "shallow", 0)
    deep = _forwarder_pss(bench, bench.directory / "deep", depth)
    return {A_MESSAGE: (deep - shallow) * (1 << 20) / depth}


def _forwarder_pss(bench: Bench, spool: Path, depth: int) -> float:
    fill(spool, depth, _OCTETS, due_in=_LATER)
    with ours(bench, spool=spool, receiver=None) as peer:
        time.sleep(_QUIET)  # the interpreter must have begun to start
        at_rest(peer.pids())
        return pss(peer.pids())


def _restart(bench: Bench) -> Figures:
    spool = bench.directory / "deep"
    fill(spool, bench.count(_DEPTH), _OCTETS)
    with stamps() as target:
        began = time.monotonic()
        with ours(bench, spool=spool, receiver=None, forward_to=target.port):
            if not target.first.wait(_PATIENCE):
                raise TimeoutError("no delivery after the start")
            return {FIRST: time.monotonic() - began}


def _drain_ours(bench: Bench) -> Figures:
    messages = bench.count(_DRAINED)
    spool = bench.directory / "deep"
    fill(spool, messages, _OCTETS)
    os.sync()
    with sink(messages=messages) as target:
        began = time.monotonic()
        with ours(bench, spool=spool, receiver=None, forward_to=target.port):
            target.wait(_PATIENCE)
            return {RATE: messages / (time.monotonic() - began)}


def _drain_postfix(bench: Bench) -> Figures:
    messages = bench.count(_DRAINED)
    with postfix(bench, more=HELD + UNSYNCED) as peer:
        Load(messages=messages, octets=_OCTETS, sessions=20).send(peer.port)
        queue = peer.home / "queue"
    for path in (
        queue / "hold"
    ).iterdir():  # the place of new mail while the queue manager is stopped
        path.rename(queue / "incoming" / path.name)
    os.sync()
    with sink(messages=messages) as target:
        began = time.monotonic()
        with postfix(bench, forward_to=target.port, keep=True):
            target.wait(_PATIENCE)
            return {RATE: messages / (time.monotonic() - began)}


CASES = (
    Case(
        name="deep-accept",
        words="accept 2 KiB, 100,000 queued and the smarthost away",
        contestants={"ours": partial(_accept, depth=_DEPTH), "empty": partial(_accept, depth=0)},
        goals=(Goal(figure=accept.RATE, to="empty", synced=Wanted(0.95, 1)),),
        short=0.1,
    ),
    Case(
        name="deep-memory",
        words="forwarder, 100,000 queued",
        contestants={"ours": _memory},
        goals=(Goal(figure=A_MESSAGE, bound=Bound.AT_MOST, synced=1000),),
        short=0.1,
    ),
    Case(
        name="deep-drain",
        words="drain 10,000 of 2 KiB, start included",
        contestants={"ours": _drain_ours, "postfix": _drain_postfix},
        goals=(Goal(figure=RATE, to="postfix", synced=Wanted(1.2, 2)),),
        short=0.2,
    ),
    Case(
        name="deep-restart",
        words="100,000 queued",
        contestants={"ours": _restart},
        goals=(Goal(figure=FIRST, bound=Bound.AT_MOST, synced=2),),
        short=0.1,
    ),
)
