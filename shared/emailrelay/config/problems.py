"""Problems with settings, as sentences: the place, the value, and the allowed values."""

from collections.abc import Collection, Mapping
from typing import Any, cast, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from emailrelay.config import environment, flags
from emailrelay.config.options import SERVICES, Settings
from emailrelay.config.shown import shown as masked
from emailrelay.config.tables import tables as names_of_tables
from emailrelay.settings_file import SettingsFile
from emailrelay.suggestions import suggest

_SHOWN = 80
"""The most characters of a bad value in a message."""

_SENTENCES = {"missing": "is missing", "extra_forbidden": "unknown setting"}
"""Sentences for two kinds of error, without the value."""
_MUST_BE = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be yes or no",
    "string_type": 'must be a text in quotes, as in "text"',
    "tuple_type": 'must be a list, as in ["text"]',
    "list_type": 'must be a list, as in ["text"]',
    "dict_type": 'must be a table, as in {name = "text"}',
    "string_pattern_mismatch": "must be a short name of letters, digits and hyphens",
}
"""Sentences for values of the wrong kind."""


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


def of_environment(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that look like misspelt settings."""
    in_file, names = _tables(), _all_names() | {"config"}
    misplaced, misspelt = list[str](), list[str]()
    for variable in environment.unknown(environ, names - in_file):
        name = environment.name(variable)
        if name in in_file:
            misplaced.append(f"{variable}: {_only_in_file(name)}")
        elif meant := suggest(name, names - in_file):
            suggestion = f"did you mean {environment.variable(meant)}?"
            misspelt.append(f"{variable}: unknown variable; {suggestion}")
    return misplaced + misspelt


def warnings_of_environment(environ: Mapping[str, str]) -> list[str]:
    """Return the other variables with our prefix that are not settings."""
    in_file, names = _tables(), _all_names() | {"config"}
    return [
        f"{variable}: unknown variable, so it has no effect"
        for variable in environment.unknown(environ, names - in_file)
        if (name := environment.name(variable)) not in in_file
        and suggest(name, names - in_file) is None
    ]


def of_keys(file: SettingsFile) -> list[str]:
    """Return the keys of a file that are not an option of any service, or are in a wrong table."""
    names = _all_names()
    strange = [
        f"{file.place(key)}: unknown setting{_did_you_mean(key, names)}"
        for key in file.values
        if key not in names
    ]
    return strange + [
        f"{file.place('aliases')}, {key}: is a setting, not a name with an address; write it"
        " above the first [table]"
        for key in _settings_among_aliases(file, names)
    ]


def _settings_among_aliases(file: SettingsFile, names: Collection[str]) -> list[str]:
    """Return the keys of the table of aliases that look like settings added to the file's end."""
    given = file.values.get("aliases")
    if not isinstance(given, dict):
        return []
    table = cast("dict[str, object]", given)
    return [
        key
        for key, value in table.items()
        if key in names and not any("@" in target or target in table for target in _texts(value))
    ]


def _texts(value: object) -> list[str]:
    return [
        str(each) for each in cast("list[object]", value if isinstance(value, list) else [value])
    ]


def of_values(
    settings: type[Settings],
    error: ValidationError,
    places: Mapping[str, str],
    values: Mapping[str, Any],
    file: SettingsFile,
) -> list[str]:
    """Return the problems of values, each with its place (by field name)."""
    found: list[str] = []
    for detail in error.errors(include_url=False, include_context=False):
        name, *inside = detail["loc"]
        message = detail["msg"].removeprefix("Value error, ")
        said = (_SENTENCES | _MUST_BE).get(detail["type"], message)
        said = said.replace("Input should be", "must be", 1)
        if detail["type"] == "extra_forbidden":
            said += _instead(str(inside[-1]), _keys_beside(settings, detail["loc"]))
        place = places.get(str(name))
        if place is None:
            found.append(f"{flags.flag(str(name))} (in a file: {name}): {said}")
        elif inside and place.startswith("[["):
            place = _in_table(file, str(name), values[str(name)], inside)
            found.append(f"{place}: {_input(detail)}{said}")
        else:
            found.append(f"{place}: {_input(detail)}{said}")
    return found


def _keys_beside(settings: type[BaseModel], steps: tuple[int | str, ...]) -> set[str]:
    """Return the keys of the table to which the last of ``steps`` leads."""
    declaration: type[BaseModel] = settings
    for step in steps[:-1]:
        if isinstance(step, str) and step in declaration.model_fields:
            declaration = _table_of(declaration.model_fields[step].annotation) or declaration
    return set(declaration.model_fields)


def _table_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_table_of, get_args(annotation))), None)


def _in_table(file: SettingsFile, name: str, tables: Any, inside: list[int | str]) -> str:
    """Return the place in a list of tables: ``[[route]] 2 (isp) in relay.toml, line 7, rate``."""
    index, *keys = inside
    heading, _, path = file.place(name, *inside).partition(" ")
    number = f" {index + 1}" if isinstance(index, int) else ""
    try:
        named = f" ({_shown(tables[index]['name'])})"
    except (KeyError, TypeError):
        named = ""
    steps = [f"item {key + 1}" if isinstance(key, int) else key for key in keys]
    return ", ".join([f"{heading}{number}{named} {path}", *steps])


def _input(detail: ErrorDetails) -> str:
    # A whole table or the yes of a flag does not help the reader. The value of an unknown key may
    # be a password.
    given: object = detail["input"]
    tables = isinstance(given, list) and any(isinstance(item, dict) for item in given)  # pyright: ignore[reportUnknownVariableType] -- of any kind
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
    if owners := _owners(name):
        return f"{option}: is an option of {owners}"
    own = {*settings.model_fields, "config", "check_config", "help", "version"} - _tables()
    meant = suggest(name, own) or suggest(name, _all_names() - _tables())
    suggestion = f"; did you mean {flags.flag(meant)}" if meant else ""
    if meant and meant not in own:
        suggestion += f" of {_owners(meant)}"
    return f"{option}: unknown option{suggestion}{'?' if suggestion else ''}"


def _owners(name: str) -> str:
    return " and ".join(each.program for each in SERVICES if name in each.model_fields)


def _all_names() -> set[str]:
    return {name for service in SERVICES for name in service.model_fields}


def _tables() -> set[str]:
    return {name for service in SERVICES for name in names_of_tables(service)}


def _only_in_file(name: str) -> str:
    return f"can stand only in the settings file, as [[{name}]]"


def _did_you_mean(key: str, names: Collection[str]) -> str:
    meant = suggest(key.replace("-", "_").lower(), names)
    return f"; did you mean {meant}?" if meant else ""


def _instead(key: str, names: Collection[str]) -> str:
    """Return the key of a table that was probably meant, or all of them."""
    return _did_you_mean(key, names) or f"; the table has {', '.join(sorted(names))}"


def _shown(value: object) -> str:
    text = ascii(masked(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
