"""The command ``show``: the settings in force, each with its source."""

import argparse
import os
import sys
from argparse import Namespace
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, cast

from emailrelay import settings_file, toml_text
from emailrelay.config import SERVICES, flags
from emailrelay.config.declared import Declared
from emailrelay.config.environment import variable
from emailrelay.config.reading import Gathered, collect
from emailrelay.config.shown import Shown, shown
from emailrelay.config.tables import tables
from emailrelay.configure.options import PROGRAM
from emailrelay.suggestions import suggest
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.error_lines import print_errors
from emailrelay.terminal.output import print_json, print_line
from emailrelay.terminal.screen import console, new_table, plain
from emailrelay.terminal.verbs import Verb, add_json

_DEFAULT = "default"
_OF_OTHERS, _OF_SERVICE = ": is an option of ", " of emailrelay-"
_NOT_GIVEN = " (in a file: "
"""Parts of problems (``config.problems``)."""


@dataclass(slots=True)
class ShownSetting:
    """One setting, as all services that have it read it."""

    name: str
    value: Shown
    default: Shown
    source: str
    """``default``, ``option``, ``environment`` or ``file``."""
    place: str
    """``PATH:LINE``, a variable or an option; empty for a default."""
    services: list[str] = field(default_factory=list[str])

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object (docs/settings.md)."""
        return {
            "setting": self.name,
            "value": self.value,
            "default": self.default,
            "source": self.source,
            "from": self.place or None,
            "services": self.services,
        }


def _show(asked: Namespace) -> int:
    config: str | None = asked.config
    names = [word.replace("-", "_") for word in takewhile(_is_bare, asked.rest)]
    argv = [*([] if config is None else ["--config", config]), *asked.rest[len(names) :]]
    all_got = [collect(each, flags.parse(each, argv), os.environ) for each in SERVICES]
    rows = sorted(_rows(all_got), key=lambda row: row.name)
    known = {row.name for row in rows}
    if unknown := set(names) - known:
        refused = (_unknown(name, known) for name in sorted(unknown))
        return print_errors(PROGRAM, *refused, status=os.EX_USAGE)
    if names:
        rows = [row for row in rows if row.name in names]
    if asked.changed:
        rows = [row for row in rows if row.value != row.default]
    problems = _problems(all_got)
    if asked.json:
        for row in rows:
            print_json(row.to_json())
    elif all_got[0].file.path or settings_file.chosen(config, os.environ) is None:
        print_line(f"settings file: {all_got[0].file.path or 'none'}")
        _print(rows)
    sys.stdout.flush()
    return print_errors(PROGRAM, *problems, status=os.EX_CONFIG if problems else os.EX_OK)


def _unknown(name: str, known: Collection[str]) -> str:
    meant = suggest(name, known)
    advice = "" if meant is None else f"; did you mean {meant}?"
    return f"{name}: unknown setting{advice}"


def _is_bare(word: str) -> bool:
    return not word.startswith("-")


def _problems(all_got: Sequence[Gathered[Any]]) -> list[str]:
    """Return each problem with a given value once; an option of another service is none here."""
    lines = (line for got in all_got for line in got.problems)
    given = (line for line in lines if _OF_OTHERS not in line and _NOT_GIVEN not in line)
    # A service names the other one that has the meant option.
    return list(dict.fromkeys(line for line in given if _OF_SERVICE not in line))


def _rows(all_got: Sequence[Gathered[Any]]) -> Iterator[ShownSetting]:
    rows: dict[str, ShownSetting] = {}
    for got in all_got:
        for name in got.settings.model_fields:
            row = rows.get(name)
            if row is None:
                rows[name] = row = _row(got, name)
            row.services.append(got.settings.service)
    return iter(rows.values())


def _row(got: Gathered[Any], name: str) -> ShownSetting:
    default = got.settings.model_fields[name].get_default(call_default_factory=True)
    value = got.values.get(name, default)
    if got.rest is not None and name not in got.wrong:
        value = getattr(got.rest, name)
    source, place = _source(got, name)
    return ShownSetting(name, _plain(value), _plain(default), source, place)


def _plain(value: Any) -> Shown:
    """Return a value without passwords; a table is an object of the keys that it sets."""
    if isinstance(value, tuple):
        items = cast("tuple[object, ...]", value)
        tables = [item for item in items if isinstance(item, Declared)]
        if tables:
            return shown([table.model_dump(mode="json", exclude_unset=True) for table in tables])
    return shown(value)


def _source(got: Gathered[Any], name: str) -> tuple[str, str]:
    place = got.places.get(name)
    if place is None:
        return _DEFAULT, ""
    if place == flags.flag(name):
        return "option", place
    if place == variable(name):
        return "environment", place
    is_table = name in set(tables(got.settings))
    line = toml_text.line_of(got.file.text, name, *([0] if is_table else []))
    return "file", f"{got.file.path}:{line}" if line else got.file.path


def _print(rows: Sequence[ShownSetting]) -> None:
    table = new_table()
    table.add_column("Setting", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("From", overflow="fold")
    for row in rows:
        table.add_row(row.name, plain(_text(row.value)), plain(row.place or row.source))
    console().print(table)


def _text(value: Shown) -> str:
    match value:
        case None | "" | []:
            return "-"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(
                str(each["name"]) if isinstance(each, dict) else str(each) for each in value
            )
        case float():
            return f"{value:.12g}"
        case _:
            return str(value)


def _add_names(parser: CommandLineParser) -> None:
    # Shown only: the options of services that follow may have values, which are no names.
    parser.show(argparse.Action((), "names", metavar="NAME", help="Only these settings. [all]"))


def _add_changed(parser: CommandLineParser) -> None:
    parser.add_argument(
        "--changed", action="store_true", help="Only settings that differ from their defaults."
    )


SHOW = Verb(
    "Show the settings in force, and where each comes from.",
    "[options] [NAME]... [OPTION OF A SERVICE]...",
    _show,
    (_add_names, _add_changed, add_json),
    ("show port", "show --changed", "show --port 2525"),
    notes=("With options of services, it shows the settings that a service has with them.",),
    takes_rest=True,
)
"""Options of services follow, so that their effect can be seen."""
