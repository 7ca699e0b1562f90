"""``emailrelay-queue``: the command line for operators."""

import sys
from collections.abc import Sequence

from emailrelay.queue.errors import PROGRAM
from emailrelay.queue.parser import QUEUE
from emailrelay.terminal.run_command import run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/queue.md)."""
    words = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: QUEUE.run(words), program=PROGRAM)
