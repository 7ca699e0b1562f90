"""Errors of ``emailrelay-queue`` on standard error."""

from typing import TYPE_CHECKING

from emailrelay.terminal.error_lines import print_errors

if TYPE_CHECKING:
    from emailrelay.events.event import Event

PROGRAM = "emailrelay-queue"


def print_error(text: str) -> int:
    """Print an error; return exit status 1."""
    return print_errors(PROGRAM, text, status=1)


def report(event: "Event") -> None:
    """Print an event of the store if it is a warning or an error."""
    from emailrelay.events.event import Level  # noqa: PLC0415 - commands that only look need none

    if event.level in (Level.WARNING, Level.ERROR):
        print_error(str(event))
