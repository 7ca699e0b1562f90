"""Tables on standard output, made with Rich."""

import sys

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emailrelay.printable import printable
from emailrelay.terminal.output import OutputClosed

_UNLIMITED = 1000
"""Columns of a table in a file or pipe: each row stays on one line, for ``grep``."""


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """See ``Console.on_broken_pipe``, which would end the command with status 1."""
        raise OutputClosed


def console(piped_width: int = _UNLIMITED) -> Console:
    """Return the console for tables; ``piped_width`` (columns) is used in a file or pipe."""
    width = None if sys.stdout.isatty() else piped_width
    return _Screen(highlight=False, width=width)


def new_table() -> Table:
    """Return an empty table in the style of all commands."""
    return Table(box=None, header_style="bold", pad_edge=False)


def plain(text: str) -> str:
    """Escape text from mail and servers, so that neither Rich nor the terminal interprets it."""
    return escape(printable(text))
