"""Errors on standard error, in the same form for all commands."""

import sys
from contextlib import suppress

from emailrelay.printable import printable


def print_errors(program: str, *lines: str, status: int = 0) -> int:
    """Print each line on standard error, after the program's name; return ``status``.

    Control characters are escaped. If standard error cannot be written, the exit status is the
    only report.
    """
    with suppress(OSError):
        sys.stderr.writelines(f"{program}: {printable(line)}\n" for line in lines)
    return status
