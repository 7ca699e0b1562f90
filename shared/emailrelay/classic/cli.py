"""The command ``emailrelay``: options, then the work in the foreground or the background."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from emailrelay.classic import command_line, help_text, rules, services
from emailrelay.classic.command_line import Asked
from emailrelay.classic.options import BY_NAME
from emailrelay.classic.run import run
from emailrelay.classic.services import Plan
from emailrelay.classic.start import FAILED, NotStarted
from emailrelay.config.version import capabilities, version

_PATHS = frozenset({"DIR", "FILE", "PEM,...", "SPEC", "SPEC,..."})
"""The words of the options whose values are, or may be, paths."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    asked, wrong = command_line.parse(sys.argv[1:] if argv is None else argv, _read)
    if asked.on("help") or asked.on("version"):
        _show(asked)
        return FAILED if wrong else 0
    planned, more = _plan(asked)
    wrong += more
    if planned is None or wrong:
        _complain(wrong, "emailrelay --help shows the options")
        return FAILED
    try:
        return run(*planned)
    except NotStarted as error:
        _complain(error.problems)
        return error.status


def _plan(given: Asked) -> tuple[tuple[Plan, Asked] | None, list[str]]:
    asked, wrong = rules.expand(_absolute(given))
    wrong += rules.problems(asked)
    planned = services.plan(asked)
    known = dict.fromkeys(wrong)
    known.update(dict.fromkeys(services.problems(planned, asked, os.environ)))
    return (planned, asked), list(known)


def _absolute(asked: Asked) -> Asked:
    """Make paths absolute: a daemon works in another directory."""
    values = dict(asked.values)
    for name, given in values.items():
        if BY_NAME[name].word in _PATHS:
            values[name] = tuple(_absolute_path(value) for value in given)
    return Asked(values)


def _absolute_path(value: str) -> str:
    # ``exit:0`` is no path, nor is nothing.
    return value if not value or ":" in value else str(Path(value).absolute())


def _show(asked: Asked) -> None:
    if asked.on("help"):
        sys.stdout.write(help_text.make(complete=asked.on("verbose"), available=services.available))
        return
    lines = [f"emailrelay {version()}", *(capabilities() if asked.on("verbose") else [])]
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _complain(problems: Sequence[str], advice: str = "") -> None:
    lines = [line for problem in problems for line in problem.splitlines()]
    sys.stderr.writelines(
        f"emailrelay: error: {line}\n" for line in [*lines, *([advice] * bool(advice))]
    )


def _read(path: str) -> str:
    return Path(path).read_text("utf-8")
