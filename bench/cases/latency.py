"""The latency of one message at 20 a second, each over a connection of its own."""

from bench.case import Bench, Bound, Case, Figures, Goal
from bench.figures import percentile
from bench.load import KIB
from bench.peers import Peer, ours, postfix
from bench.probe import Stamps, stamps

THROUGH, ANSWER, AFTER = (
    "connection to sink's dot, ms",
    "connection to 250, ms",
    "250 to sink's dot, ms",
)
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_RATE = 20.0


def named(what: str, share: float) -> str:
    """Name a figure of a distribution."""
    return f"{what}, p{share:.0%}".rstrip("%")


def _ours(bench: Bench) -> Figures:
    with stamps() as target, ours(bench, forward_to=target.port) as peer:
        return _measured(bench, target, peer)


def _postfix(bench: Bench) -> Figures:
    with stamps() as target, postfix(bench, forward_to=target.port) as peer:
        return _measured(bench, target, peer)


def _measured(bench: Bench, target: Stamps, peer: Peer) -> Figures:
    target.probe(peer.port, messages=20, rate=_RATE, octets=10 * KIB)  # warms up
    times = target.probe(
        peer.port, messages=bench.count(400, least=60), rate=_RATE, octets=10 * KIB
    )
    distributions = {
        THROUGH: [target.arrived[number] - one.begun for number, one in enumerate(times)],
        ANSWER: [one.answered - one.begun for one in times],
        AFTER: [target.arrived[number] - one.answered for number, one in enumerate(times)],
    }
    return {
        named(what, share): 1000 * percentile(values, share)
        for what, values in distributions.items()
        for share in SHARES
    }


CASES = (
    Case(
        name="latency",
        words="10 KiB, 20 messages a second",
        contestants={"ours": _ours, "postfix": _postfix},
        goals=(
            Goal(
                figure=named(THROUGH, 0.5), to="postfix", bound=Bound.AT_MOST, synced=1.0, log=0.8
            ),
            Goal(
                figure=named(THROUGH, 0.99), to="postfix", bound=Bound.AT_MOST, synced=0.8, log=0.6
            ),
            Goal(figure=named(AFTER, 0.5), bound=Bound.AT_MOST, synced=1.0, log=0.7),
        ),
        short=0.5,
    ),
)
