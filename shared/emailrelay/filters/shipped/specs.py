"""Reads the specs of the filters that ship: a path or a name of a table behind the kind."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias, TypeVar

from emailrelay import host_port
from emailrelay.errors import ConfigError
from emailrelay.filters.shipped.header_edits import parse_edit
from emailrelay.filters.shipped.parameters import (
    ArchiveFilter,
    CopyFilter,
    DeliverFilter,
    DisclaimerFilter,
    DkimFilter,
    FilterTables,
    HeaderFilter,
    MxFilter,
    PipeFilter,
    RewriteFilter,
    Shipped,
    SplitFilter,
)
from emailrelay.host_port import HostPort

KINDS = (
    "pipe:PROGRAM, header:EDIT, dkim:, disclaimer:FILE, rewrite:FILE, archive:DIR, copy:DIR, "
    "deliver:DIR, split:, mx:"
)
"""The possible specs, for messages."""

_Parse: TypeAlias = Callable[[str, str, FilterTables], Shipped]
_T = TypeVar("_T")


def _pipe(spec: str, rest: str, tables: FilterTables) -> PipeFilter:
    if "/" in rest:
        return PipeFilter(spec, Path(rest).absolute())
    return _of_table(spec, rest, tables.pipe, "a path with a slash")


def _header(spec: str, rest: str, tables: FilterTables) -> HeaderFilter:
    if "=" not in rest:
        return _of_table(spec, rest, tables.header, "an edit such as add=NAME: TEXT")
    try:
        return HeaderFilter(spec, (parse_edit(rest),))
    except ValueError as error:
        raise ConfigError([f"filter {spec}: {error}"]) from error


def _dkim(spec: str, rest: str, tables: FilterTables) -> DkimFilter:
    if not tables.dkim:
        raise ConfigError([f"filter {spec}: there is no table [[dkim]] in the settings file"])
    if rest:
        key = _of_table(spec, rest, tables.dkim, "nothing behind the colon for all tables")
        return DkimFilter(spec, (key,))
    return DkimFilter(spec, tuple(tables.dkim.values()))


def _disclaimer(spec: str, rest: str, tables: FilterTables) -> DisclaimerFilter:
    if "/" in rest:
        return DisclaimerFilter(spec, Path(rest).absolute())
    return _of_table(spec, rest, tables.disclaimer, "a path with a slash")


def _archive(spec: str, rest: str, tables: FilterTables) -> ArchiveFilter:
    if "/" in rest:
        return ArchiveFilter(spec, Path(rest).absolute())
    return _of_table(spec, rest, tables.archive, "a directory with a slash")


def _copy(spec: str, rest: str, _tables: FilterTables) -> CopyFilter:
    return CopyFilter(spec, _directory(spec, rest))


def _deliver(spec: str, rest: str, _tables: FilterTables) -> DeliverFilter:
    return DeliverFilter(spec, _directory(spec, rest))


def _rewrite(spec: str, rest: str, tables: FilterTables) -> RewriteFilter:
    if "/" in rest:
        return RewriteFilter(spec, Path(rest).absolute())
    return _of_table(spec, rest, tables.rewrite, "the path of a map with a slash")


def _split(spec: str, rest: str, _tables: FilterTables) -> SplitFilter:
    if rest:
        raise ConfigError([f"filter {spec}: no text is allowed after the colon"])
    return SplitFilter()


def _mx(spec: str, rest: str, _tables: FilterTables) -> MxFilter:
    if not rest:
        return MxFilter()
    try:
        place = host_port.parse(rest)
        ip_address(place.host if isinstance(place, HostPort) else "")
    except ValueError as error:
        wrong = f"filter {spec}: write nothing behind the colon, or a name server as IP:PORT"
        raise ConfigError([wrong]) from error
    if not isinstance(place, HostPort) or not place.port.isdigit():
        raise ConfigError([f"filter {spec}: write the number of the port"])
    return MxFilter(place)


def _directory(spec: str, text: str) -> Path:
    if "/" not in text:
        raise ConfigError([f"filter {spec}: write a directory with a slash"])
    return Path(text).absolute()


def _of_table(spec: str, name: str, tables: Mapping[str, _T], instead: str) -> _T:
    kind = spec.partition(":")[0]
    if name in tables:
        return tables[name]
    choices = f"write {instead}, or the name of a table [[{kind}]] in the settings file"
    known = f"({', '.join(tables)})" if tables else "(there is none)"
    raise ConfigError([f"filter {spec}: {choices} {known}"])


PARSERS: Mapping[str, _Parse] = MappingProxyType(
    {
        "pipe": _pipe,
        "header": _header,
        "dkim": _dkim,
        "disclaimer": _disclaimer,
        "archive": _archive,
        "rewrite": _rewrite,
        "split": _split,
        "mx": _mx,
        "copy": _copy,
        "deliver": _deliver,
    }
)
"""By kind; each takes the spec, the part behind the colon, and the tables."""
