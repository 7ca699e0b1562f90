"""A question to the person at the terminal, before a command changes much."""

import sys


def confirmed(question: str) -> bool:
    """Ask; return whether the answer is yes. Without a terminal nothing is asked: yes."""
    if not sys.stdin.isatty():
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
