"""Lists of tables in the settings file, as ``[[route]]``, which no flag can express."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
)
from pydantic.fields import FieldInfo

from emailrelay.config.declared import Declared
from emailrelay.config.values import Metavar

Name: TypeAlias = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"), Metavar("NAME")
]
"""The name of a table in other tables, in the log and in file names."""


class Table(Declared):
    """One table; fields and docstrings declare its keys, as they declare options."""

    name: Name = Field(examples=["isp"])
    """The name, made of letters, digits, underscores, dots and hyphens."""

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class InFile:
    """The option is a list of tables, which can stand only in the settings file."""


def in_file_only(info: FieldInfo) -> bool:
    """Tell whether a field is a list of tables, which has no flag and no variable."""
    return any(isinstance(item, InFile) for item in info.metadata)


def tables(settings: type[BaseModel]) -> Iterator[str]:
    """Yield the names of the fields that are lists of tables."""
    return (name for name, info in settings.model_fields.items() if in_file_only(info))


def _double_brackets(value: object) -> object:
    if isinstance(value, dict | str):
        raise ValueError("must be a list of tables: write its name in double brackets, [[ ]]")  # noqa: TRY004 -- pydantic makes problems of ValueError only
    return value  # pyright: ignore[reportUnknownVariableType] -- pydantic looks at what it is


_T = TypeVar("_T", bound=Table)


def _names_differ(found: Sequence[_T]) -> Sequence[_T]:
    twice = [name for name, times in Counter(table.name for table in found).items() if times > 1]
    if twice:
        raise ValueError(f"several are named {', '.join(twice)}; each needs a name of its own")
    return found


Tables: TypeAlias = Annotated[
    tuple[_T, ...], BeforeValidator(_double_brackets), AfterValidator(_names_differ), InFile()
]
"""A field of this kind has the name of its tables. ``[[route]]`` fills ``route: Tables[Route]``."""
