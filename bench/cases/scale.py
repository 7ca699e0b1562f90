"""The cost of a message with a deep queue, many routes and several workers."""

import contextlib
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.case import Bench, Bound, Case, Figures, Goal
from bench.cases.accept import CPU
from bench.cases.relay import RATE, relayed
from bench.generate import fill
from bench.load import KIB, Load, warm_up
from bench.machine import at_rest, cpu
from bench.peers import Ours, ours
from bench.sinks import Sink, sink

_LOAD = Load(messages=3000, octets=10 * KIB, sessions=20)
_LATER = 86_400.0
_PATIENCE = 200.0
_SETTLING = 0.3
"""Seconds in which a relay ends its work after the last delivery."""
_SAME = 1.1
"""The bound below which growth counts as noise."""


def _relay(bench: Bench, *, depth: int = 0, routes: int = 0, workers: int = 1) -> Figures:
    load = _LOAD.scaled(bench.scale)
    spool = bench.directory / "deep"
    fill(spool, depth, 2 * KIB, due_in=_LATER)
    with sink(messages=load.messages + load.sessions) as target:
        options = ["--config", str(_routes(bench.directory, routes, target.port))]
        with ours(
            bench,
            spool=spool,
            forward_to=target.port,
            forwarder=options if routes else [],
            workers=workers,
        ) as peer:
            warm_up(peer.port, load.sessions)
            return relayed(peer, target, load)


def _routes(directory: Path, count: int, port: int) -> Path:
    """Write a settings file with this many routes, none of which the load uses."""
    path = directory / "routes.toml"
    path.write_text(
        "".join(
            f'[[route]]\nname = "r{number}"\n'
            f'recipient = ["d{number}.invalid"]\nsmarthosts = ["127.0.0.1:{port}"]\n'
            for number in range(count)
        )
    )
    return path


def _side_by_side(bench: Bench) -> Figures:
    """Run two relays that share nothing, each with half of the sessions and messages.

    Two workers cannot cost less: what they cost more than one is mostly the smaller batches.
    """
    whole = _LOAD.scaled(bench.scale)
    half = replace(whole, messages=whole.messages // 2, sessions=whole.sessions // 2)
    with contextlib.ExitStack() as running:
        relays = [running.enter_context(_alone(bench, name, half)) for name in ("a", "b")]
        pids = [pid for relay, _ in relays for pid in relay.pids()]
        at_rest(pids)
        before, began = cpu(pids), time.monotonic()
        with ThreadPoolExecutor(len(relays)) as clients:
            list(clients.map(half.send, [relay.port for relay, _ in relays]))
        for _, target in relays:
            target.wait(_PATIENCE)
        seconds = time.monotonic() - began
        time.sleep(_SETTLING)  # the last settlements cost CPU behind the sink's last answer
        return {
            RATE: 2 * half.messages / seconds,
            CPU: 1000 * (cpu(pids) - before) / (2 * half.messages),
        }


@contextlib.contextmanager
def _alone(bench: Bench, name: str, load: Load) -> Generator[tuple[Ours, Sink]]:
    own = replace(bench, directory=bench.directory / name)
    own.directory.mkdir(exist_ok=True)
    with (
        sink(messages=load.messages + load.sessions) as target,
        ours(own, forward_to=target.port) as relay,
    ):
        warm_up(relay.port, load.sessions)
        yield relay, target


def _same(of: str, to: str) -> Goal:
    return Goal(figure=CPU, of=of, to=to, bound=Bound.AT_MOST, synced=_SAME)


_EMPTY, _ONE, _SHARE_NOTHING = "empty queue", "one worker", "2 relays, half of the load each"

CASES = (
    Case(
        name="depth",
        words="relay beside a deferred queue",
        contestants={
            _EMPTY: _relay,
            "10,000": partial(_relay, depth=10_000),
            "100,000": partial(_relay, depth=100_000),
        },
        goals=(_same("10,000", _EMPTY), _same("100,000", _EMPTY)),
    ),
    Case(
        name="depth-1000000",
        words="relay beside a deferred queue of 1,000,000",
        contestants={_EMPTY: _relay, "1,000,000": partial(_relay, depth=1_000_000)},
        goals=(_same("1,000,000", _EMPTY),),
    ),
    Case(
        name="routes",
        words="relay with many routes",
        contestants={"no routes": _relay, "1,000 routes": partial(_relay, routes=1000)},
        goals=(_same("1,000 routes", "no routes"),),
    ),
    Case(
        name="workers",
        words="relay with several workers of each service",
        contestants={
            _ONE: _relay,
            "2 workers": partial(_relay, workers=2),
            "4 workers": partial(_relay, workers=4),
            _SHARE_NOTHING: _side_by_side,
        },
        goals=(_same("2 workers", _ONE), _same("2 workers", _SHARE_NOTHING)),
    ),
)
