"""This checkout and another one, in turn: the ratios of each round, and their median.

.venv/bin/python -m bench.versus TREE ['accept-*' ...] [--sessions 2 5 50] [--rounds 5]
    [--scale 0.3] [--durability synced log] [--place DIRECTORY] [--disk journal:4]

TREE is another checkout. It runs in this one's environment, so it needs the same dependencies.
``--disk``: see ``bench.played_disk``; then only receivers can be compared. Without names of cases,
the load is *accept* with 1, 2, 5, 20, 50 and 100 sessions, with many messages a session and with
one.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench import machine
from bench.case import STRANGERS, Bench, Case, Durability, Figures
from bench.cases import ALL
from bench.cases.accept import reception
from bench.figures import ratios, spread
from bench.tables import number

_HERE = Path(__file__).resolve().parent.parent
_COMMAND = """#!{python}
import sys
sys.path[0:0] = [{paths}]
from emailrelay_{service}.cli import main
if __name__ == "__main__":
    sys.exit(main())
"""
_PLAYED = """#!/bin/sh
PYTHONPATH={here} exec {python} -m bench.played_disk {disk} {tree} "$@"
"""
_SESSIONS = (1, 2, 5, 20, 50, 100)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print a line for each figure of each case."""
    asked = _parser().parse_args(argv)
    print(f"{machine.description()}; {asked.rounds} rounds; load {os.getloadavg()[0]:.1f}\n")
    print("| case | sync | figure | here : there, median (range) | here | there |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="versus-") as made, machine.awake():
        trees = {"here": _HERE, "there": asked.tree.absolute()}
        trees = {name: _commands(tree, Path(made) / name, asked) for name, tree in trees.items()}
        for case in _cases(asked):
            for durability in asked.durability:
                for name in (each for each in case.contestants if each not in STRANGERS):
                    found = list(_rounds(case, name, durability, trees, asked))
                    for line in _lines(case, name, durability, found):
                        print(line, flush=True)
    return 0


def _commands(tree: Path, directory: Path, asked: argparse.Namespace) -> Path:
    """Make commands that run a checkout."""
    directory.mkdir()
    services = ("receiver", "filterd", "forwarder")
    paths = ", ".join(
        repr(str(tree / each)) for each in ("shared", *map("services/{}".format, services))
    )
    for service in services:
        text = _COMMAND.format(python=sys.executable, paths=paths, service=service)
        if asked.disk and service == "receiver":
            text = _PLAYED.format(here=_HERE, python=sys.executable, disk=asked.disk, tree=tree)
        (command := directory / f"emailrelay-{service}").write_text(text)
        command.chmod(0o755)
    return directory


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
    parser.add_argument("--disk", help="a disk that is played: KIND:MILLISECONDS")
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
