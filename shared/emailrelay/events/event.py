"""A fact for the log: its level, its fields, and the form of all kinds of facts."""

import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from inspect import get_annotations
from typing import ClassVar, TypeAlias, dataclass_transform

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Level(StrEnum):
    """The importance of a fact for a reader of the log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


TIME_FIELDS = frozenset({"again", "next_attempt", "token_until"})
"""Fields with a time in seconds since 1970, which people read as date and time."""


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Event:
    """A fact. ``level`` belongs to the kind of fact, not to the place that reports it.

    The kinds look like frozen dataclasses, to type checkers as well. They are none: to generate the
    code of so many dataclasses would take a large part of a service's start.
    """

    level: ClassVar[Level] = Level.INFO
    batched: ClassVar[bool] = False
    """True: many of these come at a time, and the log writes those of one moment together."""
    name: ClassVar[str] = ""
    """The kind in the log: ``worker_died`` of ``WorkerDied``."""
    fields: ClassVar[tuple[str, ...]] = ()
    """The names of the kind's own attributes."""
    _known: ClassVar[frozenset[str]] = frozenset()
    _needed: ClassVar[frozenset[str]] = frozenset()
    """The fields without a default."""
    _shown: ClassVar[dict[tuple[bool, ...], tuple[str, ...]]] = {}
    """The fields that a line shows, by those of ``MailEvent`` that are not empty."""

    def __init_subclass__(cls) -> None:
        of_kind = get_annotations(Event)
        own = (name for name in get_annotations(cls) if name not in of_kind)
        cls.fields = tuple(dict.fromkeys((*own, *cls.fields)))  # the kind's own ones come first
        cls._shown = {}
        cls._known = frozenset(cls.fields)
        cls._needed = frozenset(name for name in cls.fields if not hasattr(cls, name))
        cls.name = _WORD_START.sub("_", cls.__name__).lower()

    def __init__(self, **values: object) -> None:
        if not (self._known.issuperset(values) and self._needed.issubset(values)):
            self._complain(values)
        self.__dict__.update(values)

    def _complain(self, values: Mapping[str, object]) -> None:
        kind = type(self).__name__
        for name in values:
            if name not in self._known:
                raise TypeError(f"{kind} has no {name}")
        raise TypeError(f"{kind} needs {', '.join(sorted(self._needed - values.keys()))}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: facts do not change")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Event) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        said = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.fields)
        return f"{type(self).__name__}({said})"

    def __str__(self) -> str:
        """Write the fact in words for a terminal: ``set aside: id 1.2.3, reason no content``."""
        said = ((name, getattr(self, name)) for name in self.shown())
        words = ", ".join(f"{name} {value}" for name, value in said if value not in (None, ""))
        return f"{self.name.replace('_', ' ')}: {words}"

    def shown(self) -> Sequence[str]:
        """Return the names of the fields that a line shows."""
        return self.fields

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.fields)


Report: TypeAlias = Callable[[Event], None]
"""Takes events. It must not raise and must not block."""


def report_nothing(_event: Event) -> None:
    """Drop the event: the caller learns of trouble by an error, or no one wants to know."""
