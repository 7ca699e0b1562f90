"""Filters: a program per message, a persistent one, none; and the machine's fork and exec."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from bench.accepting import LANGUAGES, spec_of
from bench.case import Bench, Case, Figures, Goal, Wanted
from bench.cases.relay import RATE, relayed
from bench.load import KIB, Load, warm_up
from bench.peers import ours, postfix
from bench.sinks import sink

_LOAD = Load(messages=3000, octets=10 * KIB, sessions=20)
_PROGRAM = "/bin/true"
_AT_ONCE = 4
"""As many as filterd runs by default."""
RUNS = "runs/s"


def _ours(bench: Bench, word: str) -> Figures:
    load = _LOAD.scaled(bench.scale)
    with (
        spec_of(word, bench.directory) as spec,
        sink(messages=load.messages + load.sessions) as target,
        ours(bench, forward_to=target.port, filters=[spec] if spec else []) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _postfix(bench: Bench) -> Figures:
    load = _LOAD.scaled(bench.scale)
    with (
        sink(messages=load.messages + load.sessions) as target,
        postfix(bench, forward_to=target.port, program=_PROGRAM) as peer,
    ):
        warm_up(peer.port, load.sessions)
        return relayed(peer, target, load)


def _fork_and_exec(bench: Bench) -> Figures:
    runs = bench.count(4000)
    began = time.monotonic()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(_run, range(runs)))
    return {RUNS: runs / (time.monotonic() - began)}


def _run(_number: int) -> None:
    pid = os.posix_spawn(_PROGRAM, [_PROGRAM], {})
    os.waitpid(pid, 0)


CASES = (
    Case(
        name="filters",
        words="filter, 10 KiB, 20 sessions",
        contestants={
            "none": partial(_ours, word=""),
            "net": partial(_ours, word="net:"),
            "pipe": partial(_ours, word="pipe:python"),
            "exit": partial(_ours, word="exit:0"),
            "program": partial(_ours, word=_PROGRAM),
            "postfix": _postfix,
            "fork and exec": _fork_and_exec,
        },
        goals=(
            Goal(figure=RATE, of="program", to="postfix", synced=Wanted(2, 3)),
            Goal(figure=RATE, of="program", to="fork and exec", to_figure=RUNS, synced=0.4),
            Goal(figure=RATE, of="net", to="none", synced=0.8),
            Goal(figure=RATE, of="pipe", to="none", synced=0.8),
        ),
        short=0.2,
    ),
    *(
        Case(
            name=f"filters-{language}",
            words=f"a filter in {language}, 10 KiB, 20 sessions",
            contestants={
                "for each message": partial(_ours, word=language),
                "stays running": partial(_ours, word=f"pipe:{language}"),
            },
            goals=(Goal(figure=RATE, of="stays running", to="for each message", synced=1.0),),
        )
        for language in LANGUAGES
    ),
)
