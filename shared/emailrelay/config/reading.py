"""The reader of settings: flags before environment before file before default."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from emailrelay import settings_file
from emailrelay.config import environment, flags, problems
from emailrelay.config.declared import build
from emailrelay.config.options import Settings
from emailrelay.config.tables import tables
from emailrelay.config.values import comma_list
from emailrelay.errors import ConfigError
from emailrelay.settings_file import SettingsFile

_S = TypeVar("_S", bound=Settings)


@dataclass(slots=True)
class Gathered(Generic[_S]):
    """The settings of a service, each with its source, and the problems with them."""

    settings: type[_S]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    places: dict[str, str] = field(default_factory=dict[str, str])
    """The source of each value that was given, in words."""
    file: SettingsFile = field(default_factory=SettingsFile)
    problems: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    wrong: set[str] = field(default_factory=set[str])
    """The names of the values with problems."""
    found: _S | None = None
    """The settings in force. None: they have problems."""
    rest: _S | None = None
    """The settings without the wrong values, for the check of the others. None: impossible."""


def read(settings: type[_S], argv: Sequence[str], environ: Mapping[str, str]) -> _S:
    """Return the settings of a service; raise ConfigError with every problem."""
    return gather(settings, flags.parse(settings, argv), environ)


def gather(settings: type[_S], asked: flags.CommandLine, environ: Mapping[str, str]) -> _S:
    """Return the settings of a command line that is parsed already; raise ConfigError."""
    gathered = collect(settings, asked, environ)
    if gathered.found is None:
        raise ConfigError(gathered.problems)
    return gathered.found


def collect(
    settings: type[_S], asked: flags.CommandLine, environ: Mapping[str, str]
) -> Gathered[_S]:
    """Return the settings from all sources, with every problem."""
    got = Gathered(settings)
    got.problems += problems.of_command_line(settings, asked) + problems.of_environment(environ)
    got.warnings += problems.warnings_of_environment(environ)
    try:
        got.file = settings_file.read(asked.config, environ)
    except ConfigError as error:
        # The values of the file are unknown, so nothing else can be checked.
        got.problems += error.problems
        return got
    got.problems += problems.of_keys(got.file)
    _take(got, asked, environ)
    build(settings)
    try:
        found = settings(**got.values)
    except ValidationError as error:
        got.problems += problems.of_values(settings, error, got.places, got.values, got.file)
        got.wrong |= {str(detail["loc"][0]) for detail in error.errors()}
        got.rest = _without(got.wrong, got)
    else:
        got.rest = found
        got.found = None if got.problems else found
    return got


def _take(got: Gathered[_S], asked: flags.CommandLine, environ: Mapping[str, str]) -> None:
    """Take the values of all sources, each from the one that goes before the others."""
    in_file = got.file.values
    for name in tables(got.settings):
        if name in in_file:
            place = got.file.place(name).removeprefix(name)
            got.values[name], got.places[name] = in_file[name], f"[[{name}]]{place}"
    for name in got.settings.model_fields.keys() - set(tables(got.settings)):
        in_environment = environment.value(name, environ)
        if name in asked.values:
            got.values[name], got.places[name] = _joined(asked.values[name]), flags.flag(name)
        elif in_environment is not None:
            got.values[name], got.places[name] = in_environment, environment.variable(name)
        elif name in in_file:
            got.values[name], got.places[name] = in_file[name], got.file.place(name)


def _without(wrong: set[str], got: Gathered[_S]) -> _S | None:
    try:
        return got.settings(**{k: v for k, v in got.values.items() if k not in wrong})
    except ValidationError:
        return None


def _joined(value: str | list[str]) -> object:
    # The flag of a list may be repeated, each time with several values.
    return comma_list(",".join(value)) if isinstance(value, list) else value
