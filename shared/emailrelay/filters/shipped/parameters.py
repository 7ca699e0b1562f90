"""The parameters of the filters that ship, as their specs and the tables of the settings give them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from emailrelay.filters.shipped.header_edits import HeaderEdit


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


@dataclass(frozen=True, slots=True)
class HeaderFilter:
    """Edits of the header, in their order."""

    spec: str
    edits: tuple[HeaderEdit, ...]

    def __str__(self) -> str:
        """Write the spec as the log shows it."""
        return self.spec


Worked: TypeAlias = HeaderFilter
"""The filters that work on the files of a message here, in a thread."""
Shipped: TypeAlias = PipeFilter | Worked


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterTables:
    """The tables of a settings file for filters: by kind, the filter of each name."""

    pipe: Mapping[str, PipeFilter] = field(default_factory=dict[str, PipeFilter])
    header: Mapping[str, HeaderFilter] = field(default_factory=dict[str, HeaderFilter])


NO_TABLES = FilterTables()
