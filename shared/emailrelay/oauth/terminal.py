"""What emailrelay-auth prints, and where: words for people, JSON for programs."""

import sys

from rich.console import Console

from emailrelay.events import Event, Level
from emailrelay.printable import printable

PROGRAM = "emailrelay-auth"


def complain(text: str, status: int) -> int:
    """Say on standard error what is wrong; give the exit status back."""
    sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")
    return status


def console() -> Console:
    """Give where tables go; into a file or a pipe they go unbroken, for grep."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=1000, soft_wrap=False)


def tell(event: Event) -> None:
    """Print what is bad, except the trouble that ends the command and is said there."""
    if event.level is Level.ERROR:
        complain(str(event), 0)
