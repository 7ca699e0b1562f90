"""The flags of a service and their help, made from the declaration."""

import argparse
import re
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import get_annotations
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from emailrelay.config.declared import texts
from emailrelay.config.options import Settings
from emailrelay.config.tables import in_file_only
from emailrelay.config.values import Alone, AtStart, Metavar

_MISSING = "\0missing"


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
        SystemExit: 0, after the help.

    """
    known, unknown = _parser(settings, {}).parse_known_args(argv)
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
    return f"{default:g}" if isinstance(default, float) else str(default)


def with_flags(text: str, names: Container[str]) -> str:
    """Return a description for a command line: with the flags instead of the names of fields."""
    return re.sub(r"[a-z]+(?:_[a-z]+)+", lambda m: flag(m[0]) if m[0] in names else m[0], text)


def _help(settings: type[Settings]) -> type[argparse.Action]:
    """Return the action that shows the help; only then the descriptions are read."""

    class Help(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
            _parser(settings, texts(settings)).print_help()
            parser.exit()

    return Help


def _parser(settings: type[Settings], described: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=settings.program,
        usage="%(prog)s [-c FILE] [options]",
        description=settings.summary,
        epilog='Each option can also stand in the file (spool_dir = "DIR") or in the environment '
        "(EMAILRELAY_SPOOL_DIR=DIR). Flags take precedence over the environment, and the environment "
        "over the file. Signals: TERM finishes current work and stops, HUP reads the files again, "
        "USR1 tries all waiting mail now.",
        add_help=False,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=_wide,
    )
    general = parser.add_argument_group("General")
    general.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        nargs="?",
        const=_MISSING,
        help="The settings file (TOML), one for all services. Keys of other services are ignored.",
    )
    general.add_argument(
        "--check-config",
        nargs="?",
        const="",
        metavar="json",
        help="Check all that the start needs, show the settings, and exit: 0 if they are good, else 78. "
        "With json, print one JSON object.",
    )
    general.add_argument(
        "--version",
        action="store_true",
        help="Show the version (with --verbose, the capabilities too) and exit.",
    )
    general.add_argument(
        "--help", "-h", action=_help(settings), nargs=0, help="Show this help and exit."
    )
    for title, names in groups(settings):
        group = parser.add_argument_group(title)
        for name in names:
            text = with_flags(described.get(name, ""), settings.model_fields)
            info = settings.model_fields[name]
            group.add_argument(flag(name), dest=name, **_shape(text, info))
    return parser


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


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(
        prog, max_help_position=28, width=None if sys.stdout.isatty() else 80
    )
