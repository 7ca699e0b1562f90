"""The command ``check``: all that would stop the services or hurt their work."""

import os
import sys
from argparse import Namespace
from pathlib import Path

from emailrelay import settings_file
from emailrelay.config import SERVICES
from emailrelay.config.findings import FindingLevel
from emailrelay.configure.service_checks import ServiceFinding, check_services, is_used
from emailrelay.configure.service_user import service_user
from emailrelay.suggestions import suggest
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.output import counted, print_json, print_line
from emailrelay.terminal.run_command import CommandLineError
from emailrelay.terminal.verbs import Verb, add_json

_NAMES = tuple(service.service for service in SERVICES)


def _check(asked: Namespace) -> int:
    config: str | None = asked.config
    chosen = _chosen(asked.services, config)
    run_as = service_user(asked.user, config)
    found = check_services(chosen, config, run_as)
    problems = [each for each in found if each.finding.level is FindingLevel.PROBLEM]
    shown_as = None if run_as is None else run_as.name
    if asked.json:
        findings = [each.to_json() for each in found]
        print_json({"good": not problems, "user": shown_as, "findings": findings})
    else:
        _print(found, problems)
        if not problems:
            named = settings_file.chosen(config, os.environ)
            path = "no settings file" if named is None else Path(named).absolute()
            user_words = f" as user {shown_as}" if shown_as else ""
            print_line(f"the settings are good ({path}): {_in_words(chosen)} can start{user_words}")
    sys.stdout.flush()
    return 1 if problems else os.EX_OK


def _chosen(services: list[str], config: str | None) -> list[str]:
    strange = [each for each in services if each not in _NAMES]
    if strange:
        meant = suggest(strange[0], _NAMES)
        advice = (
            f"the services are {_in_words(_NAMES)}" if meant is None else f"did you mean {meant}?"
        )
        text = f"{strange[0]}: unknown service; {advice}"
        raise CommandLineError(text)
    if services:
        return [name for name in _NAMES if name in services]
    return [name for name in _NAMES if is_used(name, config)]


def _print(found: list[ServiceFinding], problems: list[ServiceFinding]) -> None:
    for each in found:
        print_line(f"{each.finding.level}: {', '.join(each.services)}: {each.finding}")
    if problems:
        warnings = len(found) - len(problems)
        print_line(f"{counted(len(problems), 'problem')}, {counted(warnings, 'warning')}")


def _in_words(names: list[str] | tuple[str, ...]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _add_services(parser: CommandLineParser) -> None:
    parser.add_argument(
        "services",
        nargs="*",
        metavar="SERVICE",
        help=f"Only these: {', '.join(_NAMES)}. [all]",
    )


def _add_user(parser: CommandLineParser) -> None:
    parser.add_argument(
        "--user",
        metavar="NAME",
        help="The user of the services, for a check by root. [the owner of the spool, else "
        "emailrelay]",
    )


CHECK = Verb(
    "Find everything that would stop the services or hurt their work; exit 1 for problems.",
    "[options] [SERVICE]...",
    _check,
    (_add_services, add_json, _add_user),
    ("check", "check receiver --user emailrelay"),
)
