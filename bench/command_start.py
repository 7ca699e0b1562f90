"""How long the commands that people and monitoring systems start take, on a small spool.

    python -m bench.command_start [--rounds N] [--against CHECKOUT]

Each round starts each command once, of this checkout and of another one in turn. It prints medians:
CPU (user and system) and elapsed time, both in ms, and the number of imported modules.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from emailrelay.dsn_request import NO_REQUEST
from emailrelay.envelope import Address
from emailrelay.queue_id import QueueIds
from emailrelay.store.quick_submission import begin_submission

MESSAGES = 20
COMMANDS = {
    "python": ["-c", "pass"],
    "emailrelay-queue list": ["-m", "emailrelay.queue", "list"],
    "emailrelay-queue list --json": ["-m", "emailrelay.queue", "list", "--json"],
    "emailrelay-queue check": ["-m", "emailrelay.queue", "check"],
    "mailq": ["-m", "emailrelay.submit", "-bp"],
}


def fill(spool: str) -> None:
    """Put messages into a spool."""
    ids = QueueIds(7)
    for _ in range(MESSAGES):
        submission = begin_submission(spool, lambda: ids.next(time.time()))
        submission.write([b"Subject: x\r\n\r\nx\r\n"])
        submission.commit(Address("ann@x.test"), (Address("bob@y.test"),), NO_REQUEST)


def environment(shared: str, spool: str) -> dict[str, str]:
    """Return the environment in which a command of a checkout uses the spool."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": shared, "EMAILRELAY_SPOOL_DIR": spool}


def started(shared: str, words: list[str], spool: str) -> tuple[float, float]:
    """Run a command once; return its CPU and elapsed time in ms."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, *words],
        env=environment(shared, spool),
        stdout=subprocess.DEVNULL,
        check=False,
    )
    elapsed, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return 1000 * cpu, 1000 * elapsed


def modules(shared: str, words: list[str], spool: str) -> int:
    """Count the modules that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *words],
        env=environment(shared, spool),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.count("import time:") - 1


def main() -> None:
    """Measure, and print a line for each command and interpreter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--against", metavar="CHECKOUT", help="Another checkout.")
    asked = parser.parse_args()
    checkouts = [str(Path(__file__).parents[1]), *([asked.against] if asked.against else [])]
    shares = [f"{checkout}/shared" for checkout in checkouts]
    found = defaultdict[tuple[str, str], list[tuple[float, float]]](list)
    with tempfile.TemporaryDirectory() as directory:
        spool = str(Path(directory) / "spool")
        Path(spool).mkdir()
        fill(spool)
        for _ in range(asked.rounds):
            for name, words in COMMANDS.items():
                for shared in shares:
                    found[name, shared].append(started(shared, words, spool))
        for (name, shared), times in found.items():
            cpu, elapsed = (statistics.median(column) for column in zip(*times, strict=True))
            number = modules(shared, COMMANDS[name], spool)
            print(f"{name:30} {cpu:5.0f} {elapsed:5.0f} {number:4}  {shared}")


if __name__ == "__main__":
    main()
