"""The reader of settings: flags before environment before file before default."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from emailrelay.config import flags, problems
from emailrelay.config.declared import build
from emailrelay.config.options import Settings
from emailrelay.config.tables import tables
from emailrelay.config.values import comma_list
from emailrelay.errors import ConfigError

_S = TypeVar("_S", bound=Settings)


def read(settings: type[_S], argv: Sequence[str], environ: Mapping[str, str]) -> _S:
    """Return the settings of a service; raise ConfigError with every problem."""
    return gather(settings, flags.parse(settings, argv), environ)[0]


def gather(
    settings: type[_S], asked: flags.CommandLine, environ: Mapping[str, str]
) -> tuple[_S, dict[str, str]]:
    """Return the settings and, for each that was given, its place; raise ConfigError."""
    wrong = problems.of_command_line(settings, asked) + problems.of_environment(environ)
    values: dict[str, Any] = {}
    places: dict[str, str] = {}
    path = asked.config or environ.get(problems.variable("config"))
    try:
        in_file = _from_file(path) if path else {}
    except ConfigError as error:
        # The values of the file are unknown, so nothing else can be checked.
        raise ConfigError([*wrong, *error.problems]) from error
    wrong += problems.of_keys(in_file, path) if path else []
    for name in tables(settings):
        if name in in_file:
            values[name], places[name] = in_file[name], f"[[{name}]] in {path}"
    for name in settings.model_fields.keys() - set(tables(settings)):
        variable = problems.variable(name)
        if name in asked.values:
            values[name], places[name] = _joined(asked.values[name]), flags.flag(name)
        elif variable in environ:
            values[name], places[name] = environ[variable], variable
        elif name in in_file:
            values[name], places[name] = in_file[name], f"{name} in {path}"
    build(settings)
    try:
        found = settings(**values)
    except ValidationError as error:
        wrong += problems.of_values(error, places, values)
        raise ConfigError(wrong) from error
    if wrong:
        raise ConfigError(wrong)
    return found, places


def _joined(value: str | list[str]) -> object:
    # The flag of a list may be repeated, each time with several values.
    return comma_list(",".join(value)) if isinstance(value, list) else value


def _from_file(path: str) -> dict[str, Any]:
    """Return the values in a file; raise ConfigError if it cannot be read."""
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: is not UTF-8 text"]) from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([problems.of_toml(text, path, str(error))]) from error
