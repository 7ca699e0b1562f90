"""Problems with settings, as sentences: the place, the value, and the allowed values."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from emailrelay.config import flags
from emailrelay.config.options import SERVICES, Settings
from emailrelay.config.tables import tables as names_of_tables

_PREFIX = "EMAILRELAY_"
_FILTER_VARIABLES = frozenset({"EMAILRELAY_ID", "EMAILRELAY_RUN"})
"""Variables of filter programs (docs/filters.md), which they pass on to commands of this package."""
_SHOWN = 80
"""The most characters of a bad value in a message. No option contains a secret; secrets have files."""

_SENTENCES = {"missing": "is missing", "extra_forbidden": "there is no such option"}
"""Sentences for two kinds of error, without the value."""
_MUST_BE = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be yes or no",
}
"""Sentences for values of the wrong kind."""


def variable(name: str) -> str:
    """Return the environment variable of a field: ``spool_dir`` is ``EMAILRELAY_SPOOL_DIR``."""
    return _PREFIX + name.upper()


def of_command_line(settings: type[Settings], asked: flags.CommandLine) -> list[str]:
    """Return the problems with the grammar of the command line."""
    missing = [f"{flags.flag(name)}: needs a value" for name in asked.without_value]
    unknown, option = list[str](), False
    for word in asked.unknown:
        # A bare word after an unknown option is its value, not a further problem.
        if word.startswith("-") or not option:
            unknown.append(_unknown_option(settings, word))
        option = word.startswith("-") and "=" not in word
    return missing + unknown


def of_environment(environ: Iterable[str]) -> list[str]:
    """Return the variables that look like misspelt options.

    Other programs use names with this prefix too (Kubernetes for a service called emailrelay, filterd
    for its filters), so a name that resembles no option is ignored.
    """
    in_file = {variable(name): name for name in _tables()}
    names = {variable(name) for name in [*_all_names(), "config"]} - in_file.keys()
    known = names | _FILTER_VARIABLES
    unknown = sorted(name for name in environ if name.startswith(_PREFIX) and name not in known)
    misplaced = [f"{name}: {_only_in_file(in_file[name])}" for name in unknown if name in in_file]
    return misplaced + [
        f"{name}: there is no such option{suggestion}"
        for name in unknown
        if name not in in_file and (suggestion := _suggestion(name, names, prefix=_PREFIX))
    ]


def of_keys(keys: Iterable[str], path: str) -> list[str]:
    """Return the keys of a file that are not an option of any service."""
    names = _all_names()
    return [
        f"{key} in {path}: there is no such option{_suggestion(key.replace('-', '_'), names)}"
        for key in keys
        if key not in names
    ]


def of_toml(text: str, path: str, said: str) -> str:
    """Return the problem of a text that is not TOML, with the line and its key or table.

    ``said`` is the message of the parser, with the place at its end.
    """
    reason, _, place = said.partition(" (at ")
    found = re.match(r"line (\d+), column \d+", place)
    lines = text.splitlines()
    # An early end of the text belongs to the last line.
    number = min(int(found[1]) if found else len(lines), len(lines))
    for line in reversed(lines[:number]):
        named = re.match(r"\s*(\[+[^]]*]*|[A-Za-z0-9_.\"'-]+(?=\s*=)|[A-Za-z0-9_-]+)", line)
        if named:
            about = named[1].strip()
            return f"{path}, line {number}, {about}: is not TOML: {reason.lower()}{_hint(line)}"
    return f"{path}, line {number}: is not TOML: {reason.lower()}"


def _hint(line: str) -> str:
    """Return the usual correction of a line that is not TOML."""
    _, equals, value = line.partition("=")
    word = value.partition("#")[0].strip()
    if line.lstrip().startswith("["):
        return ""
    if not equals:
        return '; a setting is written as name = "text", name = 25 or name = true'
    if word.lower() in {"yes", "no", "on", "off", "true", "false"}:
        return "; write true or false"
    return "; a text stands in quotes" if word and word[0] not in "\"'[{0123456789+-" else ""


def of_values(
    error: ValidationError, places: Mapping[str, str], values: Mapping[str, Any]
) -> list[str]:
    """Return the problems of values, each with its place (by field name)."""
    found: list[str] = []
    for detail in error.errors(include_url=False, include_context=False):
        name, *inside = detail["loc"]
        told = detail["msg"].removeprefix("Value error, ")
        said = (_SENTENCES | _MUST_BE).get(detail["type"], told)
        said = said.replace("Input should be", "must be", 1)
        place = places.get(str(name))
        if place is None:
            found.append(f"{flags.flag(str(name))} (in a file: {name}): {said}")
        elif inside and place.startswith("[["):
            found.append(f"{_in_table(place, values[str(name)], inside)}: {_input(detail)}{said}")
        else:
            found.append(f"{place}: {_input(detail)}{said}")
    return found


def _in_table(place: str, tables: Any, inside: list[int | str]) -> str:
    """Return the place in a list of tables: ``[[route]] 2 (isp) in relay.toml, smarthosts 1``."""
    index, *keys = inside
    heading, _, path = place.partition(" ")
    number = f" {index + 1}" if isinstance(index, int) else ""
    try:
        named = f" ({_shown(tables[index]['name'])})"
    except (KeyError, TypeError):
        named = ""
    steps = [f"item {key + 1}" if isinstance(key, int) else key for key in keys]
    return ", ".join([f"{heading}{number}{named} {path}", *steps])


def _input(detail: ErrorDetails) -> str:
    # A whole table or the yes of a flag does not help, and the value of an unknown key may be a password.
    given: object = detail["input"]
    tables = isinstance(given, list) and any(isinstance(item, dict) for item in given)  # pyright: ignore[reportUnknownVariableType] -- of whatever kinds
    said_yes = given in (True, "yes") and detail["type"] == "value_error"
    if detail["type"] in _SENTENCES or isinstance(given, dict) or tables or said_yes:
        return ""
    return f"{_shown(detail['input'])}: "


def _unknown_option(settings: type[Settings], word: str) -> str:
    option = word.split("=", 1)[0]
    if not option.startswith("-"):
        return f"{word}: unexpected; options begin with --"
    name = option.removeprefix("--").replace("-", "_")
    if name in _tables():
        return f"{option}: {_only_in_file(name)}"
    owners = [service.program for service in SERVICES if name in service.model_fields]
    if owners:
        return f"{option}: is an option of {' and '.join(owners)}"
    own = {flags.flag(name) for name in [*settings.model_fields, "config", "check_config"]}
    return f"{option}: there is no such option{_suggestion(option, own)}"


def _all_names() -> set[str]:
    return {name for service in SERVICES for name in service.model_fields}


def _tables() -> set[str]:
    return {name for service in SERVICES for name in names_of_tables(service)}


def _only_in_file(name: str) -> str:
    return f"can stand only in the settings file, as [[{name}]]"


def _suggestion(word: str, names: Iterable[str], prefix: str = "") -> str:
    # The common prefix would make all names look alike.
    rest = [name.removeprefix(prefix) for name in names]
    close = difflib.get_close_matches(word.removeprefix(prefix), rest, n=1, cutoff=0.8)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
