"""Output of commands on standard output: tables and lines for people, JSON for programs."""

import json
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from emailrelay.printable import printable
from emailrelay.standard_streams import drop_output

_UNLIMITED = 1000
"""Columns of a table in a file or pipe: each row stays on one line, for ``grep``."""


class OutputClosed(Exception):
    """The reader closed the other end of the pipe.

    It is not an ``OSError``, so that neither Typer nor Rich handles it.
    """


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """See ``Console.on_broken_pipe``, which would end the command with status 1."""
        raise OutputClosed


@contextmanager
def output_until_closed() -> Generator[None]:
    """Flush the output at the end of the block; end the block early if the reader has gone."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, OutputClosed):
        drop_output()


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


def print_line(line: str) -> None:
    """Print a line; control characters in it are escaped."""
    _write(printable(line))


def print_json(entry: Mapping[str, object]) -> None:
    """Print a JSON object on one line."""
    _write(json.dumps(entry))


def _write(line: str) -> None:
    try:
        sys.stdout.write(f"{line}\n")
    except BrokenPipeError as error:
        raise OutputClosed from error


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 message``, ``2 messages``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
