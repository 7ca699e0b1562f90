"""Proxies: the client's 250 is the next server's."""

from bench.case import Bench, Case, Figures, Goal, Wanted
from bench.cases import accept
from bench.load import KIB, Load
from bench.peers import ours, postfix
from bench.sinks import sink

_LOAD = Load(messages=4000, octets=10 * KIB, sessions=20)


def _ours(bench: Bench) -> Figures:
    with (
        sink() as target,
        ours(bench, forward_to=target.port, receiver=["--ack", "delivered"]) as peer,
    ):
        return accept.taken(peer, _LOAD.scaled(bench.scale))


def _postfix(bench: Bench) -> Figures:
    with (
        sink() as target,
        postfix(bench, more=f"smtpd_proxy_filter = 127.0.0.1:{target.port}\n") as peer,
    ):
        return accept.taken(peer, _LOAD.scaled(bench.scale))


CASES = (
    Case(
        name="proxy",
        words="proxy, 10 KiB, 20 sessions",
        contestants={"ours": _ours, "postfix": _postfix},
        goals=(Goal(figure=accept.RATE, to="postfix", synced=Wanted(0.8, 1)),),
        short=0.2,
    ),
)
