"""The settings of all services as rows, read from their declaration."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import cast, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from emailrelay.config import SERVICES, at_start
from emailrelay.config.declared import texts
from emailrelay.config.environment import variable
from emailrelay.config.flags import flag, groups, metadata, metavar
from emailrelay.config.tables import tables
from emailrelay.config.values import Alone

_SAMPLES: dict[str, object] = {
    "CA": "<default>",
    "DIR": "/var/spool/emailrelay",
    "FILE": "/etc/emailrelay/emailrelay.auth",
    "FQDN": "relay.example.net",
    "HOST:PORT": "smtp.example.net:25",
    "IP": "192.0.2.1",
    "LIST": ["127.0.0.1", "::1"],
    "-NAME,...": ["-pipelining"],
    "PEM,...": ["/etc/emailrelay/mail.pem"],
    "SECONDS": 300,
    "SPEC,...": ["/usr/local/bin/my-filter"],
    "URL": "spool:///var/spool/emailrelay",
}
"""A value of each kind that has no default worth showing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting: its three names, its value, and the services that have it."""

    name: str
    word: str
    """The word for the value: its unit or shape."""
    default: str
    """In words; empty if there is none."""
    sample: str
    """A value in TOML: the default if there is one."""
    text: str
    services: tuple[str, ...]
    at_start: bool
    """True if a change waits for the next start."""

    @property
    def flag(self) -> str:
        """Give the option on the command line."""
        return flag(self.name)

    @property
    def variable(self) -> str:
        """Give the environment variable."""
        return variable(self.name)


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that belong together."""

    title: str
    settings: tuple[Setting, ...]

    @property
    def services(self) -> tuple[str, ...]:
        """Give the services that have all of them."""
        return self.settings[0].services


def all_groups() -> list[Group]:
    """Return every group once: first the common ones, then the rest in the services' order."""
    titles: dict[str, list[str]] = {}
    for service in SERVICES:
        for title, names in groups(service):
            titles.setdefault(title, names)
    found = [Group(title, tuple(_settings(names))) for title, names in titles.items()]
    return sorted(found, key=lambda group: len(group.services) < len(SERVICES))


def of_service(service: str) -> Iterator[Group]:
    """Yield the groups of one service."""
    return (group for group in all_groups() if service in group.services)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a table of the settings file."""

    name: str
    word: str
    default: str
    sample: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOfFile:
    """A table that can occur several times in the settings file, or one inside it."""

    heading: str
    """The table's heading in the file: ``[[route]]``."""
    text: str
    keys: tuple[Key, ...]
    services: tuple[str, ...]


def all_tables() -> list[TableOfFile]:
    """Return every kind of table once, each followed by the tables inside it."""
    kinds: dict[str, type[BaseModel]] = {}
    owners: dict[str, list[str]] = {}
    for service in SERVICES:
        for name in tables(service):
            kinds[name] = _models(service.model_fields[name])[0]
            owners.setdefault(name, []).append(service.program)
    return [
        table
        for name, kind in kinds.items()
        for table in _tables(name, f"[[{name}]]", kind, tuple(owners[name]))
    ]


def _tables(
    name: str, heading: str, kind: type[BaseModel], services: tuple[str, ...]
) -> Iterator[TableOfFile]:
    inner = {key: _models(info) for key, info in kind.model_fields.items()}
    yield TableOfFile(
        heading=heading,
        text=" ".join((kind.__doc__ or "").split()),
        keys=tuple(_key(kind, key) for key, models in inner.items() if not models),
        services=services,
    )
    for key, models in inner.items():
        for model in models:
            yield from _tables(f"{name}.{key}", f"[{name}.{key}]", model, services)


def _models(info: FieldInfo) -> list[type[BaseModel]]:
    """Return the models that a field's annotation names, if any."""
    parts = [info.annotation, *get_args(info.annotation)]
    return [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]


def _key(kind: type[BaseModel], name: str) -> Key:
    info = kind.model_fields[name]
    needed = info.is_required()
    return Key(
        name=name,
        word=metavar(info),
        default="" if needed else _default(info),
        sample=_toml(info.examples[0]) if info.examples else _sample(info),
        text=texts(kind)[name] + (" Required." if needed else ""),
    )


def _settings(names: list[str]) -> Iterator[Setting]:
    for name in names:
        owners = [service for service in SERVICES if name in service.model_fields]
        info = owners[0].model_fields[name]
        yield Setting(
            name=name,
            word=metavar(info),
            default=_default(info),
            sample=_sample(info),
            text=texts(owners[0])[name],
            services=tuple(service.program for service in owners),
            at_start=name in at_start(owners[0]),
        )


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None:
        return (info.default_factory.__doc__ or "").strip().rstrip(".")
    if isinstance(info.default, bool):
        return "yes" if info.default else "no"
    return "" if info.default in (None, []) else _toml(info.default).strip('"')


def _sample(info: FieldInfo) -> str:
    if info.examples:
        return _toml(info.examples[0])
    if info.default_factory is None and info.default not in (None, []):
        return _toml(info.default)
    for item in metadata(info):
        if isinstance(item, Alone):
            return _toml(item.value.split(","))
    return _toml(_SAMPLES[metavar(info)])


def _toml(value: object) -> str:
    """Write a value as TOML does; for these kinds of values it is the same as JSON."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- of whatever kinds
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, dict):
        entries = cast("dict[str, object]", value).items()
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in entries) + " }"
    return json.dumps(value, ensure_ascii=False)
