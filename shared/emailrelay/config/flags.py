"""The flags of a service and their help, made from the declaration."""

import argparse
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import get_annotations
from typing import Any, cast, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from emailrelay.config.declared import texts
from emailrelay.config.options import Settings
from emailrelay.config.tables import in_file_only
from emailrelay.config.values import Alone, AtStart, Metavar
from emailrelay.errors import ConfigError
from emailrelay.terminal.command_line import CommandLineParser
from emailrelay.terminal.common_options import CONFIG, GENERAL, HELP, VERSION
from emailrelay.terminal.help_page import HelpEntry, HelpPage, print_help
from emailrelay.terminal.run_command import CommandLineError

_MISSING = "\0missing"
MOST_USED = "Most used"
"""The title of the first group of options."""
CHECK_CONFIG = HelpEntry(
    ("--check-config",),
    "Check all that a start needs, show the settings, and exit: 0 if they are good, else 78. "
    "With =json, print one JSON object.",
    "[=json]",
)
_SOURCES = (
    'Each option can also be in the file (spool_dir = "DIR") or in the environment '
    "(EMAILRELAY_SPOOL_DIR=DIR). Flags take precedence over the environment, and the environment "
    "over the file."
)
_SIGNALS = (
    "Signals: TERM finishes current work and stops, HUP reads the files again, USR1 tries all "
    "waiting mail now."
)
STATUSES = (
    (0, "a signal stopped the service, or its work was done"),
    (69, "an address could not be used"),
    (75, "the store cannot be used now: try again later"),
    (78, "the settings are wrong, or name a store that cannot be used"),
)
"""The exit statuses of the services."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The options of a command line; ``values`` are texts by field name."""

    values: Mapping[str, str | list[str]]
    config: str | None = None
    check_config: frozenset[str] | None = None
    """The words after --check-config; None: no check."""
    version: bool = False
    unknown: list[str] = field(default_factory=list[str])
    without_value: list[str] = field(default_factory=list[str])


def flag(name: str) -> str:
    """Return the flag of a field: ``spool_dir`` is ``--spool-dir``."""
    return "--" + name.replace("_", "-")


def parse(settings: type[Settings], argv: Sequence[str]) -> CommandLine:
    """Return the options in ``argv`` (without the program's name), without a check of their values.

    Raises:
        ConfigError: an option that takes no value has one.
        SystemExit: 0, after the help.

    """
    try:
        known, unknown = _parser(settings, {}).parse_known_args(argv)
    except CommandLineError as error:
        raise ConfigError([str(error)]) from error
    values = vars(known)
    config = values.pop("config", None)
    check: str | None = values.pop("check_config", None)
    given = {name: value for name, value in values.items() if name in settings.model_fields}
    without = [name for name, value in given.items() if _MISSING in (value, *value)]
    if config == _MISSING:
        without.append("config")
    return CommandLine(
        values={name: value for name, value in given.items() if name not in without},
        config=None if config == _MISSING else config,
        check_config=None if check is None else frozenset(filter(None, check.split(","))),
        version=bool(values.get("version")),
        unknown=unknown,
        without_value=without,
    )


def metadata(info: FieldInfo) -> Iterator[object]:
    """Yield the annotations of a field, also those inside ``Optional``."""
    yield from info.metadata
    for part in get_args(info.annotation):
        yield from getattr(part, "__metadata__", ())


@cache
def at_start(settings: type[Settings]) -> frozenset[str]:
    """Return the names of the fields that take effect only at the next start (``AtStart``)."""
    return frozenset(
        name
        for name, info in settings.model_fields.items()
        if any(isinstance(item, AtStart) for item in metadata(info))
    )


def metavar(info: FieldInfo) -> str:
    """Return the word for a field's value: its unit, its shape, or the possible words."""
    for item in metadata(info):
        if isinstance(item, Metavar):
            return item.word
    words = getattr(info.annotation, "__members__", None)
    if words:
        return "|".join(member.value for member in words.values())
    return "URL" if info.annotation == str | None else "NUMBER"


def groups(settings: type[Settings]) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the field names of each group of options, the service's own groups first.

    Tables have no flag and are not included.
    """
    # Readers look for the service's own options first, so those of every service come last.
    for base in settings.__mro__:
        if issubclass(base, BaseModel):
            fields = base.model_fields
            own = [name for name in get_annotations(base) if name in fields]
            names = [name for name in own if not in_file_only(fields[name])]
            if names:
                yield (base.__doc__ or "").split("\n", 1)[0].rstrip("."), names


def lone_value(info: FieldInfo) -> str | None:
    """Return the value that a flag without a value has; None if it needs one."""
    return next((item.value for item in metadata(info) if isinstance(item, Alone)), None)


def default_in_words(info: FieldInfo) -> str:
    """Return a field's default, in the same words on all machines; empty if there is none."""
    if info.default_factory is not None:
        return (info.default_factory.__doc__ or "").strip().rstrip(".")
    default: Any = info.default
    if default is None or default is False or default in ("", [], {}):
        return ""
    if default is True:
        return "yes"
    if isinstance(default, list):
        return ",".join(map(str, cast("list[object]", default)))
    # Not in the form 2.592e+06.
    return f"{default:.12g}" if isinstance(default, float) else str(default)


def with_flags(text: str, names: Container[str]) -> str:
    """Return a description for a command line: with the flags instead of the names of fields."""
    return re.sub(r"[a-z]+(?:_[a-z]+)+", lambda m: flag(m[0]) if m[0] in names else m[0], text)


def help_page(settings: type[Settings]) -> HelpPage:
    """Return the help of a service, with the descriptions of all settings."""
    return _parser(settings, texts(settings)).page()


def _help(settings: type[Settings]) -> type[argparse.Action]:
    """Return the action that shows the help; only then the descriptions are read."""

    class Help(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
            print_help(help_page(settings))
            parser.exit()

    return Help


def _parser(settings: type[Settings], described: Mapping[str, str]) -> CommandLineParser:
    parser = CommandLineParser(
        settings.program,
        "[options]",
        settings.summary,
        notes=(_SOURCES, _SIGNALS),
        statuses=STATUSES,
        examples=(f"{settings.program} --check-config", settings.program),
        own_general=True,
        argument_default=argparse.SUPPRESS,
    )
    parser.add(CONFIG, MOST_USED, nargs="?", const=_MISSING)
    parser.add(CHECK_CONFIG, MOST_USED, nargs="?", const="")
    parser.add(HELP, GENERAL, action=_help(settings), nargs=0)
    parser.add(VERSION, GENERAL, action="store_true")
    for title, names in [(MOST_USED, settings.most_used), *_others(settings)]:
        for name in names:
            text = with_flags(described.get(name, ""), settings.model_fields)
            info = settings.model_fields[name]
            word = metavar(info) if lone_value(info) is None else f"[{metavar(info)}]"
            shape = _shape(text, info)
            parser.add_argument(flag(name), title=title, dest=name, word=word, **shape)
    return parser


def _others(settings: type[Settings]) -> Iterator[tuple[str, list[str]]]:
    for title, names in groups(settings):
        yield title, [name for name in names if name not in settings.most_used]


def _shape(text: str, info: FieldInfo) -> dict[str, Any]:
    alone, default = lone_value(info), default_in_words(info)
    many = alone is None and get_origin(info.annotation) is list
    return {
        # A missing value is reported with all other problems, and does not end the parsing.
        "nargs": "?",
        "const": alone or _MISSING,
        "action": "append" if many else "store",
        "metavar": metavar(info),
        "help": f"{text} [{default}]".removesuffix(" []").replace("%", "%%"),
    }
