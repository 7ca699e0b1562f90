"""Reads the values of ``--filter`` into filters."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from emailrelay import host_port
from emailrelay.errors import ConfigError
from emailrelay.filters.shipped import specs as shipped
from emailrelay.filters.shipped.parameters import (
    NO_TABLES,
    FilterTables,
    PipeFilter,
    ServerOnly,
    Shipped,
    SplitFilter,
)
from emailrelay.filters.verdict import Side
from emailrelay.host_port import HostPort, ServerAddress


@dataclass(frozen=True, slots=True)
class ProgramFilter:
    """A program, run with the paths of content and envelope; ``path`` is absolute."""

    path: Path

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return str(self.path)


@dataclass(frozen=True, slots=True)
class ExitFilter:
    """Acts as a program without output that exits with ``code``; ``exit:0`` lets all mail pass."""

    code: int

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return f"exit:{self.code}"


@dataclass(frozen=True, slots=True)
class NetFilter:
    """A server that gets the path of the content and answers with a line."""

    place: ServerAddress

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return f"net:{self.place}"


@dataclass(frozen=True, slots=True)
class SpamFilter:
    """spamd: with ``edit`` its marked message replaces the content, else spam is rejected."""

    place: ServerAddress
    edit: bool

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return f"spam{'-edit' if self.edit else ''}:{self.place}"


@dataclass(frozen=True, slots=True)
class MilterFilter:
    """A milter: a filter of Sendmail and Postfix, over TCP or a unix socket."""

    place: ServerAddress

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return f"milter:{self.place}"


@dataclass(frozen=True, slots=True)
class MessageIdFilter:
    """Gives a message a Message-ID if it has none."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return "msgid:"


KINDS = (
    "the path of a program, file:PATH, net:HOST:PORT, net:/PATH, spam:HOST:PORT, "
    f"spam-edit:HOST:PORT, milter:HOST:PORT, milter:/PATH, {shipped.KINDS}, msgid: or exit:N"
)
"""The possible specs, for messages."""

_KIND_NAMES = {"exit", "file", "milter", "msgid", "net", "spam", "spam-edit"}

_FOREIGN = re.compile(
    r"(?:unix|local):(?!\d+$)(.+)|(?:inet6?:)?([^@:/]+)@(.+)|inet6?:((?:[^:@]+|\[.+\]):[^:@]+)"
)
"""The place of a milter as Postfix and Sendmail have it: a path, or port and host, or both."""

Filter: TypeAlias = (
    ProgramFilter | ExitFilter | NetFilter | SpamFilter | MilterFilter | MessageIdFilter | Shipped
)

_PART = re.compile(r'((?:"[^"]*"|[^,"]|"(?![^"]*"))*)(?:,|$)')
"""An item of a comma list; commas between double quotes belong to it."""


def split_list(text: str) -> list[str]:
    """Split a comma list. Commas between double quotes do not separate; the quotes stay."""
    if '"' not in text:
        return [part.strip() for part in text.split(",")]
    parts, at = list[str](), 0
    while at <= len(text):
        match = _PART.match(text, at)
        end = len(text) if match is None else match.end(1)
        parts.append(text[at:end].strip())
        at = end + 1
    return parts


def parse_chain(specs: Sequence[str], tables: FilterTables = NO_TABLES) -> tuple[Filter, ...]:
    """Read filter specs, each of them one filter or a comma list, into a chain in that order.

    ``tables`` has the filters that the settings file describes by tables, such as ``[[pipe]]``.

    Raises:
        ConfigError: one line for each spec that is not understood.

    """
    chain: list[Filter] = []
    problems: list[str] = []
    for spec in (unquoted(part) for whole in specs for part in split_list(whole)):
        try:
            chain.append(_parse(spec, tables))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return tuple(chain)


def check_side(chain: Sequence[Filter], side: Side) -> None:
    """Raise ConfigError for filters that cannot work on this side, or at their place.

    Client filters run at each attempt, on a copy that is not kept. So they cannot take recipients
    away for good. ``split:`` is the first, for the new messages pass all filters.
    """
    wrong = list[str]()
    if side is Side.CLIENT:
        reason = "client filters run at each attempt, so it must be in filter"
        wrong = [f"filter {one}: {reason}" for one in chain if isinstance(one, ServerOnly)]
    elif any(isinstance(one, SplitFilter) for one in chain[1:]):
        wrong = ["filter split: must be the first, because its new messages pass all filters"]
    if wrong:
        raise ConfigError(wrong)


def unstartable(chain: Sequence[Filter]) -> dict[str, str]:
    """Return the filters of a chain that cannot do their work now, each with the reason.

    Their mail waits until they appear, and none is lost, so the service starts all the same.
    """
    found = {str(one): _trouble_of(one) for one in chain}
    return {spec: trouble for spec, trouble in found.items() if trouble}


def is_quoted(spec: str) -> bool:
    """Tell whether double quotes stand around a spec."""
    return len(spec) > 1 and spec.startswith('"') and spec.endswith('"')


def unquoted(spec: str) -> str:
    """Remove the quotes around a spec; a quote within them is written twice."""
    return spec[1:-1].replace('""', '"') if is_quoted(spec) else spec


def looks_complete(spec: str) -> bool:
    """Tell whether a text is a filter by its form: a path with a slash, or a known kind."""
    kind, colon, _ = spec.partition(":")
    return "/" in kind or (bool(colon) and (kind in _KIND_NAMES or kind in shipped.PARSERS))


def quoted(spec: str) -> str:
    """Put quotes around a spec, so that its commas do not separate."""
    return '"' + spec.replace('"', '""') + '"'


def _parse(spec: str, tables: FilterTables) -> Filter:
    if "\0" in spec:
        raise ConfigError([f"filter {spec!r}: must not contain NUL"])
    kind, colon, rest = spec.partition(":")
    match kind if colon else "":
        case "exit":
            return ExitFilter(_code(spec, rest))
        case "net":
            return NetFilter(_place(spec, rest))
        case "spam" | "spam-edit":
            return SpamFilter(_place(spec, rest), edit=kind == "spam-edit")
        case "milter":
            return MilterFilter(_milter(spec, rest))
        case "msgid":
            return _message_id(spec, rest)
        case "file":
            return _program(spec, rest)
        case "" if spec in _KIND_NAMES or spec in shipped.PARSERS:
            text = f"filter {spec!r}: a colon is missing, as in {spec}:; a program has a slash"
            raise ConfigError([text])
        case "":
            return _program(spec, spec)
        case _ if kind in shipped.PARSERS:
            return shipped.PARSERS[kind](spec, rest, tables)
        case _ if "/" not in kind:  # a path with a colon has a slash before it, or follows file:
            text = f"filter {spec!r}: there is no kind {kind!r} of filter; it can be {KINDS}"
            raise ConfigError([text])
        case _:
            return _program(spec, spec)


def _program(spec: str, path: str) -> ProgramFilter:
    if not path:
        raise ConfigError([f"filter {spec!r}: the path of a program is missing"])
    # Filters run in another directory, so the path must be absolute.
    return ProgramFilter(Path(path).absolute())


def _message_id(spec: str, rest: str) -> MessageIdFilter:
    if rest:
        raise ConfigError([f"filter {spec}: no text is allowed after the colon"])
    return MessageIdFilter()


def _place(spec: str, text: str) -> ServerAddress:
    try:
        address = host_port.parse(text)
    except ValueError as error:
        raise ConfigError([f"filter {spec}: {error}"]) from error
    if isinstance(address, HostPort) and not address.port.isdigit():
        raise ConfigError([f"filter {spec}: write the number of the port"])
    if isinstance(address, HostPort) and not _can_be_host(address.host):
        text = f"{address.host!r} is no name of a host: between dots stand 1 to 63 characters"
        raise ConfigError([f"filter {spec}: {text}"])
    return address


def _milter(spec: str, text: str) -> ServerAddress:
    """Read the place of a milter; for one in the words of Postfix or Sendmail, say ours."""
    foreign = _FOREIGN.fullmatch(text)
    if foreign is None:
        return _place(spec, text)
    path, port, host, place = foreign.groups()
    if host is not None:
        place = str(HostPort(host.strip("[]"), port))
    ours = place or (path if path.startswith("/") else "/PATH")
    raise ConfigError([f"filter {spec}: write milter:{ours}; {text} is for Postfix or Sendmail"])


def _can_be_host(name: str) -> bool:
    """Tell whether the resolver can be asked for this name; it raises UnicodeError for others."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def _code(spec: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 255):
        raise ConfigError([f"filter {spec}: the exit code must be a number from 0 to 255"])
    return int(text)


def _trouble_of(one: Filter) -> str:
    match one:
        case ProgramFilter(path) | PipeFilter(_, path):
            return _trouble(path)
        case ExitFilter() | NetFilter() | SpamFilter() | MilterFilter() | MessageIdFilter():
            return ""
        case _:
            # Their libraries are loaded only where such a filter is used.
            from emailrelay.filters.shipped.work import trouble_of  # noqa: PLC0415

            return trouble_of(one)


def _trouble(path: Path) -> str:
    if not path.exists():
        return "there is no such file"
    if not path.is_file():
        return "is not a file"
    return "" if os.access(path, os.X_OK) else "is not executable (chmod +x)"
