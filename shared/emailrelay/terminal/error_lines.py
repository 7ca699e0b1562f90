"""Errors on standard error, in the same form for all commands."""

import sys

from emailrelay import systemd_journal
from emailrelay.printable import printable
from emailrelay.standard_streams import drop_errors

_INTERRUPTED = 130
"""The exit status of shells for a process that SIGINT ended."""


def print_errors(program: str, *lines: str, status: int = 0) -> int:
    """Print each line on standard error, after the program's name; return ``status``.

    Control characters are escaped. In systemd's journal each line counts as an error. If standard
    error cannot be written, the exit status is the only report.
    """
    prefix = systemd_journal.ERROR if systemd_journal.leads_to_journal(2) else ""
    try:
        sys.stderr.writelines(f"{prefix}{program}: {printable(line)}\n" for line in lines)
    except OSError:
        drop_errors()
    return status


def print_interrupted(program: str, state: str) -> int:
    """Print that the user has stopped the command, and in what state; return the exit status."""
    return print_errors(program, f"interrupted; {state}", status=_INTERRUPTED)
