"""This checkout and another one, in turn: the ratios of each round, and their median.

.venv/bin/python -m bench.versus TREE ['accept-*' ...] [--sessions 2 5 50] [--rounds 5] [--scale 0.3]
    [--durability synced log] [--place DIRECTORY]

TREE is a checkout with its own ``.venv``. Without names of cases, the load is *accept* with 1, 2, 5,
20, 50 and 100 sessions, with many messages a session and with one.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import machine
from bench.case import BIN, STRANGERS, Bench, Case, Durability, Figures
from bench.cases import ALL
from bench.cases.accept import reception
from bench.figures import ratios, spread
from bench.tables import number

_SESSIONS = (1, 2, 5, 20, 50, 100)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each figure of each case."""
    asked = _parser().parse_args(argv)
    trees = {"here": BIN, "there": asked.tree.absolute() / ".venv" / "bin"}
    print(f"{machine.description()}; {asked.rounds} rounds; load {os.getloadavg()[0]:.1f}\n")
    print("| case | sync | figure | here : there, median (range) | here | there |")
    print("|---|---|---|---|---|---|", flush=True)
    with machine.awake():
        for case in _cases(asked):
            for durability in asked.durability:
                for name in (each for each in case.contestants if each not in STRANGERS):
                    found = list(_rounds(case, name, durability, trees, asked))
                    for line in _lines(case, name, durability, found):
                        print(line, flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.versus", description=__doc__)
    parser.add_argument("tree", type=Path, help="another checkout")
    parser.add_argument("cases", nargs="*", help="names of cases of python -m bench")
    parser.add_argument("--sessions", type=int, nargs="+", default=list(_SESSIONS))
    parser.add_argument("--kinds", nargs="+", default=["many", "one"], choices=["many", "one"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=0.3)
    parser.add_argument(
        "--durability",
        type=Durability,
        choices=list(Durability),
        nargs="+",
        default=[Durability.SYNCED],
    )
    parser.add_argument("--place", type=Path, help="where spools are made")
    return parser


def _cases(asked: argparse.Namespace) -> list[Case]:
    if asked.cases:
        return [case for case in ALL if case.name in asked.cases]
    return [
        reception(sessions, keep=kind == "many")
        for kind in asked.kinds
        for sessions in asked.sessions
    ]


def _rounds(
    case: Case,
    contestant: str,
    durability: Durability,
    trees: Mapping[str, Path],
    asked: argparse.Namespace,
) -> Iterator[dict[str, Figures]]:
    for turn in range(asked.rounds):
        found: dict[str, Figures] = {}
        for tree in list(trees)[:: -1 if turn % 2 else 1]:
            with tempfile.TemporaryDirectory(prefix="bench-", dir=asked.place) as made:
                bench = Bench(
                    directory=Path(made),
                    scale=asked.scale,
                    durability=durability,
                    commands=trees[tree],
                )
                found[tree] = case.contestants[contestant](bench)
        yield found


def _lines(
    case: Case, contestant: str, durability: Durability, rounds: Sequence[Mapping[str, Figures]]
) -> Iterator[str]:
    words = case.words if contestant == "ours" else f"{case.words}: {contestant}"
    for figure in rounds[0]["here"]:
        here, there = ([each[tree][figure] for each in rounds] for tree in ("here", "there"))
        ratio = spread(ratios(here, there))
        cells = f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"
        medians = f"{number(spread(here).median)} | {number(spread(there).median)}"
        yield f"| {words} | {durability} | {figure} | {cells} | {medians} |"


if __name__ == "__main__":
    sys.exit(main())
