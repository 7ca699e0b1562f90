"""Reading the settings once, whole: flags over environment over file over default.

Every problem is found before anything is said, each with its place and its remedy.
"""

import difflib
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from emailrelay.config import flags
from emailrelay.config.options import SERVICES, Settings
from emailrelay.config.values import comma_list
from emailrelay.config.version import capabilities, version
from emailrelay.errors import ConfigError

S = TypeVar("S", bound=Settings)

PREFIX = "EMAILRELAY_"
EX_CONFIG = os.EX_CONFIG


def load(settings: type[S], argv: Sequence[str] | None = None) -> S:
    """Return the settings of a service, or end the process as its command line asks.

    Raises SystemExit: 0 after --help, --version or a clean --check-config; 78 (EX_CONFIG, sysexits.h)
    with every problem on standard error.
    """
    asked = flags.parse(settings, sys.argv[1:] if argv is None else argv)
    if asked.version:
        print(settings.program, version())
        if "verbose" in asked.values:
            print(*capabilities(), sep="\n")
        raise SystemExit(0)
    try:
        found, places = _read(settings, asked, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            print(f"{settings.program}: {problem}", file=sys.stderr)
        raise SystemExit(EX_CONFIG) from error
    if asked.check_config:
        print(f"{settings.program}: the settings are good")
        for name, place in places.items():
            print(f"  {name} = {getattr(found, name)!s}   ({place})")
        raise SystemExit(0)
    return found


def read(settings: type[S], argv: Sequence[str], environ: Mapping[str, str]) -> S:
    """Return the settings of a service; raise ConfigError with every problem."""
    return _read(settings, flags.parse(settings, argv), environ)[0]


def _read(
    settings: type[S], asked: flags.CommandLine, environ: Mapping[str, str]
) -> tuple[S, dict[str, str]]:
    problems = list(_shape_problems(settings, asked))
    path = asked.config or environ.get(f"{PREFIX}CONFIG")
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    if path:
        in_file = _from_file(Path(path), problems)
        problems += _unknown_keys(in_file, path)
        values.update(_own(settings, in_file))
        places.update({name: f"{name} in {path}" for name in values})
    for name in settings.model_fields:
        variable = PREFIX + name.upper()
        if variable in environ:
            values[name] = environ[variable]
            places[name] = variable
    problems += _unknown_variables(environ)
    for name, value in asked.values.items():
        values[name] = comma_list(",".join(value)) if isinstance(value, list) else value
        places[name] = flags.flag(name)
    try:
        found = settings(**values)
    except ValidationError as error:
        problems += [_sentence(detail, places) for detail in error.errors(include_url=False)]
    else:
        if not problems:
            return found, places
    raise ConfigError(problems)


def _from_file(path: Path, problems: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        problems.append(f"{path}: cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        problems.append(f"{path}: is not UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: is not TOML: {error}")
    return {}


def _own(settings: type[Settings], in_file: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in in_file.items() if name in settings.model_fields}


def _all_names() -> set[str]:
    return {name for service in SERVICES for name in service.model_fields}


def _unknown_keys(in_file: Mapping[str, Any], path: str) -> Iterator[str]:
    names = _all_names()
    for key in in_file:
        if key not in names:
            yield f"{key} in {path}: there is no such option{_meant(key, names)}"


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    # Others put names with our prefix into environments too (Kubernetes for a service of this name,
    # filterd for its filters), so only what looks like a slip of the pen is a problem.
    names = {PREFIX + name.upper() for name in _all_names()} | {f"{PREFIX}CONFIG"}
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in names:
            meant = _meant(variable, names)
            if meant:
                yield f"{variable}: there is no such option{meant}"


def _shape_problems(settings: type[Settings], asked: flags.CommandLine) -> Iterator[str]:
    own = {flags.flag(name) for name in settings.model_fields} | {"--config", "--check-config"}
    for name in asked.without_value:
        yield f"{flags.flag(name)}: needs a value"
    for word in asked.unknown:
        option = word.split("=", 1)[0]
        owners = [
            service.program
            for service in SERVICES
            if option in {flags.flag(name) for name in service.model_fields}
        ]
        if owners:
            yield f"{option}: is an option of {' and '.join(owners)}"
        elif option.startswith("-"):
            yield f"{option}: there is no such option{_meant(option, own)}"
        else:
            yield f"{word}: unexpected; options begin with --"


def _meant(word: str, names: set[str]) -> str:
    close = difflib.get_close_matches(
        word.replace("-", "_") if word[0] != "-" else word, names, 1, 0.8
    )
    return f"; did you mean {close[0]}?" if close else ""


def _sentence(detail: ErrorDetails, places: Mapping[str, str]) -> str:
    name = str(detail["loc"][0])
    said = detail["msg"].removeprefix("Value error, ")
    said = said.removeprefix("Input should be ")
    place = places.get(name)
    if place is None:
        return f"{flags.flag(name)} (or {name} in the file, {PREFIX}{name.upper()}): {said}"
    shown = repr(detail["input"])
    return f"{place}: {shown if len(shown) <= 80 else shown[:77] + '...'}: {said}"
