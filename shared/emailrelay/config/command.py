"""Reads the command line of a service, and carries out options such as --help."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, NoReturn, TypeAlias, TypeVar

from emailrelay.config import flags
from emailrelay.config.findings import (
    CheckScope,
    FindingLevel,
    SettingFinding,
    of_line,
    with_source,
)
from emailrelay.config.findings import warning as warning_of
from emailrelay.config.options import Settings
from emailrelay.config.reading import Gathered, collect
from emailrelay.config.shown import shown
from emailrelay.errors import ConfigError
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.version import print_version

_S = TypeVar("_S", bound=Settings)

SettingsCheck: TypeAlias = Callable[[_S, CheckScope], Iterable[SettingFinding]]
"""Tries what a service does at its start, and changes nothing."""

_CHECK_WORDS = frozenset({"json", "no-ports", "no-store"})


def load(
    settings: type[_S],
    argv: Sequence[str] | None = None,
    *,
    check: SettingsCheck[_S] | None = None,
) -> _S:
    """Return the settings of a service, or end the process after an option such as --help.

    Without ``argv``, it uses that of the process. ``check`` is for --check-config.

    Raises:
        SystemExit: 0 after --help, --version and a clean --check-config; 78 (EX_CONFIG of
            sysexits.h) with every problem on standard error.

    """
    try:
        asked = flags.parse(settings, sys.argv[1:] if argv is None else argv)
    except ConfigError as error:
        _refuse(settings, error.problems)
    if asked.version:
        print_version(settings.program, verbose="verbose" in asked.values)
        _end([])
    got = collect(settings, asked, os.environ)
    if asked.check_config is not None:
        _check(got, asked.check_config, check)
    print_errors(settings.program, *(f"warning: {each}" for each in got.warnings))
    if got.found is None:
        _refuse(settings, got.problems)
    return got.found


def findings(
    got: Gathered[_S], check: SettingsCheck[_S] | None, scope: CheckScope
) -> list[SettingFinding]:
    """Return all findings about settings: their own problems, and those that ``check`` makes."""
    found = [of_line(line, got.places) for line in got.problems]
    found += [warning_of("", line) for line in got.warnings]
    if check is not None and got.rest is not None:
        # A wrong value has been replaced by the default, about which there is nothing to say.
        made = (each for each in check(got.rest, scope) if each.setting not in got.wrong)
        found += [with_source(each, got.places) for each in made]
    return list(dict.fromkeys(found))


def _check(got: Gathered[_S], words: frozenset[str], check: SettingsCheck[_S] | None) -> NoReturn:
    settings = got.settings
    if strange := sorted(words - _CHECK_WORDS):
        _refuse(settings, [f"--check-config: {', '.join(strange)}: the only word for it is json"])
    scope = CheckScope(ports="no-ports" not in words, store="no-store" not in words)
    found = findings(got, check, scope)
    problems = [each for each in found if each.level is FindingLevel.PROBLEM]
    status = os.EX_CONFIG if problems else 0
    if "json" in words:
        report = {"service": settings.service, "findings": [asdict(each) for each in found]}
        sys.stdout.write(f"{json.dumps(report)}\n")
        raise SystemExit(status)
    heads = ("" if each in problems else "warning: " for each in found)
    lines = (f"{head}{each}" for head, each in zip(heads, found, strict=True))
    print_errors(settings.program, *lines)
    if problems:
        raise SystemExit(status)
    given = [
        f"  {name} = {_text(getattr(got.found, name))}  ({place})"
        for name, place in got.places.items()
    ]
    _end([f"{settings.program}: the settings are good", *given])


def _refuse(settings: type[Settings], problems: Sequence[str]) -> NoReturn:
    raise SystemExit(print_errors(settings.program, *problems, status=os.EX_CONFIG))


def _text(value: Any) -> str:
    # Tables can be long, so only their names are shown.
    text = shown(value)
    return ", ".join(map(str, text)) if isinstance(text, list) else str(text)


def _end(lines: Sequence[str]) -> NoReturn:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    raise SystemExit(0)
