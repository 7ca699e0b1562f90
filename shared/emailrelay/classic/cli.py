"""The command ``emailrelay``: options, then the work in the foreground or the background."""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from emailrelay.classic import checking, command_line, help_text, rules, services
from emailrelay.classic.command_line import GivenOptions
from emailrelay.classic.run import run
from emailrelay.classic.services import Plan
from emailrelay.classic.start import FAILED, StartFailed, choose_identity, user_problems
from emailrelay.errors import ConfigError
from emailrelay.standard_streams import prepare_streams
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.help_page import print_help
from emailrelay.terminal.version import print_version


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    prepare_streams()
    words = sys.argv[1:] if argv is None else argv
    here = Path.cwd()
    asked, wrong = command_line.parse(words, partial(_read, here))
    if asked.on("help") or asked.on("version"):
        _show(asked)
        return FAILED if wrong else 0
    try:
        if asked.on("check-config"):
            return _check(*_plan(words, here))
        return run(*_plan(words, here), partial(_plan, words, here))
    except ConfigError as error:
        _complain([*error.problems, *user_problems(asked)], "emailrelay --help shows the options")
        return FAILED
    except StartFailed as error:
        _complain(error.problems)
        return error.status


def _plan(words: Sequence[str], here: Path) -> tuple[Plan, GivenOptions]:
    """Read the command line and its configuration file; raise ConfigError with every problem."""
    given, wrong = command_line.parse(words, partial(_read, here))
    asked, more = rules.expand(rules.absolute(given, here))
    planned = services.plan(asked)
    wrong += [*more, *rules.problems(asked), *services.problems(planned, asked, os.environ)]
    if wrong:
        raise ConfigError(list(dict.fromkeys(wrong)))
    return planned, asked


def _check(planned: Plan, asked: GivenOptions) -> int:
    no_user = user_problems(asked)
    run_as = None if no_user else choose_identity(asked)[0]
    wrong, warnings = checking.problems(planned, asked, run_as, os.environ)
    wrong = [*no_user, *wrong]
    _complain(wrong)
    print_errors("emailrelay", *(f"warning: {line}" for line in warnings))
    return FAILED if wrong else 0


def _show(asked: GivenOptions) -> None:
    if asked.on("help"):
        print_help(help_text.page(complete=asked.on("verbose"), available=services.available))
        return
    print_version("emailrelay", verbose=asked.on("verbose"))


def _complain(problems: Sequence[str], advice: str = "") -> None:
    lines = [line for problem in [*problems, advice] for line in problem.splitlines()]
    print_errors("emailrelay", *(f"error: {line}" for line in lines))


def _read(here: Path, path: str) -> str:
    return (here / path).read_text("utf-8")
