"""Errors of ``emailrelay-queue`` on standard error."""

from emailrelay.events.event import Event, Level
from emailrelay.terminal.error_lines import print_errors

PROGRAM = "emailrelay-queue"


def print_error(text: str) -> int:
    """Print an error; return exit status 1."""
    return print_errors(PROGRAM, text, status=1)


def report(event: Event) -> None:
    """Print an event of the store if it is a warning or an error."""
    if event.level in (Level.WARNING, Level.ERROR):
        print_error(str(event))
