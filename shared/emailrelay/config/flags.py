"""The command line of a service: its flags and its help, made from the declaration."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import get_annotations
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from emailrelay.config.declared import texts
from emailrelay.config.options import Settings
from emailrelay.config.tables import in_file_only
from emailrelay.config.values import Alone, Metavar

_MISSING = "\0missing"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What was asked for on the command line; ``values`` are texts by field name."""

    values: Mapping[str, str | list[str]]
    config: str | None = None
    check_config: bool = False
    version: bool = False
    unknown: list[str] = field(default_factory=list[str])
    without_value: list[str] = field(default_factory=list[str])


def flag(name: str) -> str:
    """Return the flag of a field: ``spool_dir`` is ``--spool-dir``."""
    return "--" + name.replace("_", "-")


def parse(settings: type[Settings], argv: Sequence[str]) -> CommandLine:
    """Return what ``argv`` (without the program's name) says; nothing is judged here but its shape.

    Prints the help and raises SystemExit(0) for ``--help``.
    """
    known, unknown = _parser(settings, {}).parse_known_args(argv)
    values = vars(known)
    config = values.pop("config", None)
    given = {name: value for name, value in values.items() if name in settings.model_fields}
    without = [name for name, value in given.items() if _MISSING in (value, *value)]
    if config == _MISSING:
        without.append("config")
    return CommandLine(
        values={name: value for name, value in given.items() if name not in without},
        config=None if config == _MISSING else config,
        check_config=bool(values.get("check_config")),
        version=bool(values.get("version")),
        unknown=unknown,
        without_value=without,
    )


def metadata(info: FieldInfo) -> Iterator[object]:
    """Yield what the kinds of value say about a field, through ``Optional``."""
    yield from info.metadata
    for part in get_args(info.annotation):
        yield from getattr(part, "__metadata__", ())


def metavar(info: FieldInfo) -> str:
    """Return the word for a field's value: its unit, its shape, or the words it may be."""
    for item in metadata(info):
        if isinstance(item, Metavar):
            return item.word
    words = getattr(info.annotation, "__members__", None)
    if words:
        return "|".join(member.value for member in words.values())
    return "URL" if info.annotation == str | None else "NUMBER"


def groups(settings: type[Settings]) -> Iterator[tuple[str, list[str]]]:
    """Yield the title and the field names of each group of options, the service's own groups first.

    Tables are left out: they have no flag.
    """
    # What every service has (where, how many, how loud) is read last: one comes for the rest.
    for base in settings.__mro__:
        if issubclass(base, BaseModel):
            fields = base.model_fields
            own = [name for name in get_annotations(base) if name in fields]
            names = [name for name in own if not in_file_only(fields[name])]
            if names:
                yield (base.__doc__ or "").split("\n", 1)[0].rstrip("."), names


def describe(text: str, info: FieldInfo) -> str:
    """Return a field's text and default in one line."""
    default: Any = info.get_default(call_default_factory=True)
    if default is None or default is False or default == []:
        return text
    return f"{text} [{default:g}]" if isinstance(default, float) else f"{text} [{default}]"


def _help(settings: type[Settings]) -> type[argparse.Action]:
    """Return what shows the help: only then the texts of the options are read."""

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
        "(EMAILRELAY_SPOOL_DIR=DIR). Flags go before the environment, the environment before the "
        "file. Signals: TERM finishes what is in hand and stops, HUP reads files again, USR1 tries "
        "all waiting mail now.",
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
        help="Settings file (TOML), one for all services. A key of another service is left to it.",
    )
    general.add_argument(
        "--check-config",
        action="store_true",
        help="Check file, environment and flags, show what is set, and exit: 0 if all is well, else 78.",
    )
    general.add_argument(
        "--version",
        action="store_true",
        help="Show the version, with --verbose also the capabilities, and exit.",
    )
    general.add_argument(
        "--help", "-h", action=_help(settings), nargs=0, help="Show this and exit."
    )
    for title, names in groups(settings):
        group = parser.add_argument_group(title)
        for name in names:
            text, info = described.get(name, ""), settings.model_fields[name]
            group.add_argument(flag(name), dest=name, **_shape(text, info))
    return parser


def _shape(text: str, info: FieldInfo) -> dict[str, Any]:
    alone = next((item.value for item in metadata(info) if isinstance(item, Alone)), None)
    many = alone is None and get_origin(info.annotation) is list
    return {
        # An option whose value is missing is a problem like any other, not the end of the parsing.
        "nargs": "?",
        "const": alone or _MISSING,
        "action": "append" if many else "store",
        "metavar": metavar(info),
        "help": describe(text, info).replace("%", "%%"),
    }


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(
        prog, max_help_position=30, width=None if sys.stdout.isatty() else 100
    )
