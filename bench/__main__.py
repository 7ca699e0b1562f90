"""``python -m bench``: interleaved rounds of our relay and its peers, printed beside the goals."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NoReturn

from bench import machine
from bench.case import Bench, Case, Durability
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
    # Whoever ends us has all servers ended, too.
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
        "--short", action="store_true", help="fewer cases and messages: some minutes"
    )
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each case [5; short: 1]")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the message counts [1]")
    parser.add_argument(
        "--durability", type=Durability, choices=list(Durability), default=Durability.SYNCED
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
        "--place",
        type=Path,
        help="where spools and queues are made [the directory for temporary files]",
    )
    return parser


def chosen(patterns: Sequence[str], *, short: bool) -> list[Case]:
    """Give the cases that the patterns name; one that names none is an error."""
    cases = [case for case in ALL if not short or case.short is not None]
    for pattern in patterns:
        if not any(fnmatch(case.name, pattern) for case in cases):
            raise SystemExit(f"no such case: {pattern}")
    if not patterns:
        return cases
    return [case for case in cases if any(fnmatch(case.name, pattern) for pattern in patterns)]


def _measured(cases: Sequence[Case], arguments: argparse.Namespace) -> Iterator[Record]:
    """Give a record for each contestant, round after round, the contestants in alternating order."""
    rounds = arguments.rounds or (1 if arguments.short else 5)
    commit = machine.commit()
    began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with machine.awake():
        with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.place) as made:
            took = machine.fsync_time(Path(made))
        print(f"an append of 4 KiB and its fsync take {took:.2f} ms", file=sys.stderr)
        for case in cases:
            scale = arguments.scale * (case.short or 1.0 if arguments.short else 1.0)
            for turn in range(rounds):
                for name in list(case.contestants)[:: -1 if turn % 2 else 1]:
                    if arguments.only not in (None, name):
                        continue
                    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.place) as made:
                        directory = Path(made)
                        directory.chmod(0o755)
                        bench = Bench(
                            directory=directory, scale=scale, durability=arguments.durability
                        )
                        figures = case.contestants[name](bench)
                    record = Record(
                        case=case.name,
                        contestant=name,
                        durability=arguments.durability,
                        round=f"{began}/{turn}",
                        commit=commit,
                        figures=figures,
                    )
                    said = ", ".join(f"{key} {value:.4g}" for key, value in figures.items())
                    print(f"{case.name} {turn + 1}/{rounds} {name}: {said}", file=sys.stderr)
                    yield record


if __name__ == "__main__":
    sys.exit(main())
