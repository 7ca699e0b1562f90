"""The parameters of the filters that ship, as their specs and the tables of the settings give them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class PipeFilter:
    """A program that stays running: it gets paths of contents on standard input."""

    spec: str
    path: Path
    """Absolute."""
    arguments: tuple[str, ...] = ()
    messages: int = 0
    """The messages after which the program is replaced by a new one; 0: never."""

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


Shipped: TypeAlias = PipeFilter


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTables:
    """The tables of a settings file for filters: by kind, the filter of each name."""

    pipe: Mapping[str, PipeFilter] = field(default_factory=dict[str, PipeFilter])

    def names(self, kind: str) -> Sequence[str]:
        """Return the names of the tables of a kind, in the order of the file."""
        return tuple(getattr(self, kind))


NO_TABLES = FilterTables()
