"""``python -m bench``: interleaved rounds of our relay and its peers, printed beside the goals."""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

from bench import disk, machine
from bench.case import STRANGERS, Bench, Case, Durability, Figures
from bench.cases import ALL
from bench.records import Record, read
from bench.tables import report


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    arguments = _parser().parse_args(argv)
    cases = chosen(arguments.cases, short=arguments.short)
    if arguments.list:
        print("\n".join(f"{case.name:24} {case.words}" for case in cases))
        return 0
    # A signal that ends us ends all servers, too.
    signal.signal(signal.SIGTERM, _stop)
    records = read(arguments.json) if arguments.json else []
    if not arguments.report:
        for record in _measured(cases, arguments):
            records.append(record)
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(record.line() + "\n")
    print(f"{machine.description()}\n")
    print(report(cases, records))
    return 0


def _stop(_number: int, _frame: object) -> NoReturn:
    sys.exit("told to stop")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", help="names of cases, or patterns: 'accept-*'; default all"
    )
    parser.add_argument("--list", action="store_true", help="show the cases")
    parser.add_argument(
        "--short", action="store_true", help="fewer cases and messages: about eight minutes"
    )
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each case [5; short: 1]")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the message counts [1]")
    parser.add_argument(
        "--durability",
        type=Durability,
        choices=list(Durability),
        nargs="+",
        default=[Durability.SYNCED],
        help="how our store makes mail durable; with both, each round has both [synced]",
    )
    parser.add_argument(
        "--only",
        metavar="CONTESTANT",
        help="measure this contestant alone: to profile, not to compare",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="add the records to this file, and print all of it",
    )
    parser.add_argument(
        "--report", action="store_true", help="measure nothing, print what the file holds"
    )
    parser.add_argument(
        "--let-sleep", action="store_true", help="do not keep the CPUs awake: others do"
    )
    parser.add_argument(
        "--place",
        type=Path,
        help="where spools and queues are made [the directory for temporary files]",
    )
    parser.add_argument(
        "--loop-disk",
        action="store_true",
        help="make them on an ext4 with a journal, in a file behind a loop device",
    )
    return parser


def chosen(patterns: Sequence[str], *, short: bool) -> list[Case]:
    """Return the cases that match the patterns; a pattern without a case is an error."""
    cases = [case for case in ALL if not short or case.short is not None]
    for pattern in patterns:
        if not any(fnmatch(case.name, pattern) for case in cases):
            raise SystemExit(f"no such case: {pattern}")
    if not patterns:
        return cases
    return [case for case in cases if any(fnmatch(case.name, pattern) for pattern in patterns)]


def _measured(cases: Sequence[Case], arguments: argparse.Namespace) -> Iterator[Record]:
    """Give a record for each contestant, round after round, in alternating order."""
    rounds = arguments.rounds or (1 if arguments.short else 5)
    commit = machine.commit()
    began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with contextlib.ExitStack() as held:
        if not arguments.let_sleep:
            held.enter_context(machine.awake())
        place = held.enter_context(disk.made()) if arguments.loop_disk else arguments.place
        print(_about_disk(place), file=sys.stderr)
        for turn in range(rounds):
            for case in cases:
                scale = arguments.scale * (case.short or 1.0 if arguments.short else 1.0)
                for name, columns in _turns(case, arguments, turn):
                    load = os.getloadavg()[0]
                    figures = _once(case, name, columns[0], scale, place)
                    said = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
                    which = "" if name in STRANGERS else f" {columns[0]}"
                    print(f"{case.name} {turn + 1}/{rounds} {name}{which}: {said}", file=sys.stderr)
                    for durability in columns:
                        yield Record(
                            case=case.name,
                            contestant=name,
                            durability=durability,
                            round=f"{began}/{turn}",
                            commit=commit,
                            scale=scale,
                            load=load,
                            figures=figures,
                        )


def _about_disk(place: Path | None) -> str:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as made:
        took, kind = machine.fsync_time(Path(made)), disk.described(Path(made))
    return f"{kind}; an append of 4 KiB and its fsync take {took:.2f} ms"


def _turns(
    case: Case, arguments: argparse.Namespace, turn: int
) -> list[tuple[str, list[Durability]]]:
    """Give the contestants of a round, in order, each with the columns of its figures."""
    columns: list[Durability] = arguments.durability
    turns = [
        (name, some)
        for name in case.contestants
        if arguments.only in (None, name)
        for some in ([columns] if name in STRANGERS else [[one] for one in columns])
    ]
    return turns[:: -1 if turn % 2 else 1]


def _once(
    case: Case, name: str, durability: Durability, scale: float, place: Path | None
) -> Figures:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place) as made:
        directory = Path(made)
        directory.chmod(0o755)
        bench = Bench(directory=directory, scale=scale, durability=durability)
        return case.contestants[name](bench)


if __name__ == "__main__":
    sys.exit(main())
