"""``emailrelay-queue``: the command line for operators."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module

from emailrelay import settings_file
from emailrelay.queue.errors import PROGRAM
from emailrelay.queue.parser import VERBS, general_parser, verb_parser
from emailrelay.suggestions import suggest
from emailrelay.terminal.run_command import CommandLineError, run_command


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status (docs/queue.md)."""
    words = sys.argv[1:] if argv is None else list(argv)
    return run_command(lambda: _run(words), program=PROGRAM)


def _run(words: Sequence[str]) -> int:
    try:
        asked = general_parser(PROGRAM).parse(words)
        name, rest = asked.command, asked.rest
        if name is None:
            raise CommandLineError("name a command; --help lists them")
        if name not in VERBS:
            raise _unknown(name)
        asked = _parsed(name, rest, asked)
    except SystemExit as ended:  # argparse has printed the help, for one
        return ended.code if isinstance(ended.code, int) else os.EX_OK
    if asked.config is not None:
        os.environ[settings_file.VARIABLE] = asked.config
    return _function(name)(asked)


def _unknown(name: str) -> CommandLineError:
    meant = suggest(name, VERBS)
    advice = "--help lists them" if meant is None else f"did you mean {meant}?"
    return CommandLineError(f"{name}: no such command; {advice}")


def _parsed(name: str, rest: Sequence[str], general: Namespace) -> Namespace:
    try:
        return verb_parser(PROGRAM, name).parse_mixed(rest, general)
    except CommandLineError as error:
        if name != "check":
            raise
        # A monitoring system takes the status of a wrong command line, 64, for no answer at all.
        from emailrelay.queue.check_command import unknown  # noqa: PLC0415 - of one command

        raise SystemExit(unknown(str(error).replace("\n", ", "))) from error


def _function(name: str) -> Callable[[Namespace], int]:
    module, _, function = VERBS[name].function.partition(":")
    found: Callable[[Namespace], int] = getattr(
        import_module(f"emailrelay.queue.{module}"), function
    )
    return found
