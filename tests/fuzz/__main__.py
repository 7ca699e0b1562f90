"""``python -m tests.fuzz``: random input for a receiver, for a given time; see ``make fuzz``.

Each input follows from the seed and its own number, so that ``--only NUMBER`` sends it once more.
"""

import argparse
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from tests.fuzz.judgement import Wrong
from tests.fuzz.rounds import INPUTS, Rounds


def numbers(rounds: Rounds, until: float) -> Iterator[int]:
    """Count until the time is over, and show now and then how far it is."""
    for number in count():
        if number % INPUTS == 0:
            if time.monotonic() > until:
                return
            if sys.stdout.isatty():
                fuzz = rounds.fuzz
                sys.stdout.write(f"\r{fuzz.inputs} inputs, {fuzz.messages} messages taken ")
                sys.stdout.flush()
        yield number


def main() -> int:
    """Return 0 if the receiver handled all inputs well."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--only", type=int, metavar="NUMBER")
    asked = parser.parse_args()
    sys.stdout.write(f"seed {asked.seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(asked.seed, Path(folder))
        until = time.monotonic() + 60 * asked.minutes
        try:
            rounds.run(numbers(rounds, until) if asked.only is None else [asked.only])
        except Wrong as wrong:
            sys.stdout.write(f"\n{wrong}\n")
            return 1
    codes = ", ".join(f"{n} x {code}" for code, n in sorted(rounds.fuzz.codes.items()))
    fuzz = rounds.fuzz
    sys.stdout.write(
        f"\nthe receiver stood {fuzz.inputs} inputs and took {fuzz.messages} messages\n"
        f"it said {codes}\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
