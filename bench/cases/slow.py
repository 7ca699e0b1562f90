"""A smarthost that takes half a second for each message; default settings on both sides."""

import time

from bench.case import Bench, Case, Figures, Goal
from bench.cases.relay import RATE
from bench.load import KIB, Load
from bench.peers import Peer, ours, postfix
from bench.probe import Stamps, stamps

_DELAY = 0.5


def _ours(bench: Bench) -> Figures:
    with stamps(delay=_DELAY) as target, ours(bench, forward_to=target.port) as peer:
        return _measured(bench, target, peer)


def _postfix(bench: Bench) -> Figures:
    with stamps(delay=_DELAY) as target, postfix(bench, forward_to=target.port) as peer:
        return _measured(bench, target, peer)


def _measured(bench: Bench, target: Stamps, peer: Peer) -> Figures:
    messages = bench.count(1000)
    target.expect(messages)
    began = time.monotonic()
    Load(messages=messages, octets=10 * KIB, sessions=20).send(peer.port)
    target.wait()
    return {RATE: messages / (time.monotonic() - began)}


CASES = (
    Case(
        name="slow",
        words="smarthost of 0.5 s a transaction",
        contestants={"ours": _ours, "postfix": _postfix},
        goals=(Goal(figure=RATE, to="postfix", synced=2),),
        short=0.4,
    ),
)
