"""What the commands print, and where: words for people, JSON for programs."""

import json
import sys
from typing import Any

from rich.console import Console

from emailrelay.events import Event, Level
from emailrelay.printable import printable

PROGRAM = "emailrelay-queue"


class SeenEnough(Exception):
    """The reader of our output has gone; said in a way that the library does not take for a failure."""


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """See ``Console.on_broken_pipe``: without this, the command would end with status 1."""
        raise SeenEnough


def print_json(entry: dict[str, Any]) -> None:
    """Print an object on a line of its own."""
    _write(json.dumps(entry))


def say(line: str) -> None:
    """Print a line for people; what others wrote in it does nothing to the terminal."""
    _write(printable(line))


def _write(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
    except BrokenPipeError as error:
        raise SeenEnough from error


def complain(text: str, status: int) -> int:
    """Say on standard error what is wrong; give the exit status back."""
    sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")
    return status


def counted(number: int, noun: str) -> str:
    """Give a number with its noun: ``1 message``, ``2 messages``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def console() -> Console:
    """Give where tables go; into a file or a pipe they go unbroken, for grep."""
    if sys.stdout.isatty():
        return _Screen(highlight=False)
    return _Screen(highlight=False, width=1000, soft_wrap=False)


def tell(event: Event) -> None:
    """Print what the store reports, if it is bad."""
    if event.level in (Level.WARNING, Level.ERROR):
        complain(str(event), 0)
