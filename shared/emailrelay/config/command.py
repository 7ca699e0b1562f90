"""The command line of a service: it gives settings, or an answer and the end."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from emailrelay.config import flags
from emailrelay.config.options import Settings
from emailrelay.config.reading import collect
from emailrelay.config.version import capabilities, version
from emailrelay.terminal.error_lines import print_errors

_S = TypeVar("_S", bound=Settings)


def load(
    settings: type[_S],
    argv: Sequence[str] | None = None,
    *,
    check: Callable[[_S], list[str]] | None = None,
) -> _S:
    """Return the settings of a service, or end the process after an option such as --help.

    Without ``argv``, it uses that of the process. ``check`` is for --check-config: it reads the files
    that the settings name, as the service would at its start, and returns the problems.

    Raises:
        SystemExit: 0 after --help, --version and a clean --check-config; 78 (EX_CONFIG of
            sysexits.h) with every problem on standard error.

    """
    asked = flags.parse(settings, sys.argv[1:] if argv is None else argv)
    if asked.version:
        more = capabilities() if "verbose" in asked.values else []
        _end([f"{settings.program} {version()}", *more])
    got = collect(settings, asked, os.environ)
    print_errors(settings.program, *(f"warning: {each}" for each in got.warnings))
    found, places = got.found, got.places
    if found is None:
        _refuse(settings, got.problems)
    if asked.check_config:
        if check is not None and (wrong := check(found)):
            _refuse(settings, wrong)
        given = [
            f"  {name} = {_text(getattr(found, name))}  ({place})" for name, place in places.items()
        ]
        _end([f"{settings.program}: the settings are good", *given])
    return found


def _refuse(settings: type[Settings], problems: Sequence[str]) -> NoReturn:
    raise SystemExit(print_errors(settings.program, *problems, status=os.EX_CONFIG))


def _text(value: object) -> str:
    # Tables can be long, so only their names are shown.
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType] -- str takes anything


def _end(lines: Sequence[str]) -> NoReturn:
    sys.stdout.writelines(f"{line}\n" for line in lines)
    raise SystemExit(0)
