"""Lines on standard output: text for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from emailrelay.printable import printable
from emailrelay.standard_streams import drop_output
from emailrelay.terminal.error_lines import print_errors


class OutputClosed(Exception):
    """The reader closed the other end of the pipe.

    It is not an ``OSError``, so that Rich does not handle it.
    """


@contextmanager
def output_until_closed() -> Generator[None]:
    """Flush the output at the end of the block; end the block early if the reader has gone."""
    try:
        yield
        sys.stdout.flush()
    except (BrokenPipeError, OutputClosed):
        drop_output()


def print_line(line: str) -> None:
    """Print a line; control characters in it are escaped."""
    print_as_is(printable(line))


def print_json(entry: Mapping[str, object]) -> None:
    """Print a JSON object on one line."""
    print_as_is(json.dumps(entry))


def print_as_is(line: str) -> None:
    """Print a line that holds no control characters but those of this program."""
    try:
        sys.stdout.write(f"{line}\n")
    except BrokenPipeError as error:
        raise OutputClosed from error


def print_page(program: str, text: str) -> None:
    """Print the only output of a command, such as its help, whole.

    Raises:
        SystemExit: EX_TEMPFAIL (sysexits.h), with a line on standard error: it cannot be written.

    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
    except OSError as error:
        drop_output()
        problem = f"the output cannot be written: {error.strerror}"
        raise SystemExit(print_errors(program, problem, status=os.EX_TEMPFAIL)) from error


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 message``, ``2 messages``, ``12,345 messages``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
