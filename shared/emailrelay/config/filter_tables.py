"""The tables of the settings file for filters, such as ``[[pipe]]``."""

from collections.abc import Iterator
from typing import Annotated, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from emailrelay.config.security_values import FilePath
from emailrelay.config.tables import Table
from emailrelay.config.values import Count, Metavar
from emailrelay.filters.shipped.header_edits import (
    HeaderAction,
    HeaderEdit,
    check_name,
    check_value,
)
from emailrelay.filters.shipped.parameters import HeaderFilter, PipeFilter

FieldName: TypeAlias = Annotated[str, AfterValidator(check_name), Metavar("NAME")]
FieldText: TypeAlias = Annotated[str, AfterValidator(check_value), Metavar("TEXT")]


class PipeSettings(Table):
    """A program that stays running, for the filter pipe:NAME."""

    program: FilePath = Field(examples=["/usr/local/bin/my-filter"])
    """The program. It gets the path of a content in each line of its standard input, and answers
    each with a line."""

    arguments: tuple[str, ...] = Field(default=(), examples=[("--rules", "/etc/my-rules")])
    """Its arguments."""

    messages: Count = 0
    """The messages after which a process of the program is replaced by a new one. 0: never."""

    def plain(self) -> PipeFilter:
        """Return the filter as a plain value."""
        return PipeFilter(f"pipe:{self.name}", self.program, self.arguments, self.messages)


class HeaderSettings(Table):
    """Edits of the header, for the filter header:NAME, in the order of these keys."""

    remove: tuple[FieldName, ...] = Field(default=(), examples=[("X-Originating-IP",)])
    """The names of fields to remove."""

    rename: dict[FieldName, FieldName] = Field(default={}, examples=[{"X-Old": "X-New"}])
    """New names of fields, by their old names."""

    set: dict[FieldName, FieldText] = Field(default={}, examples=[{"Precedence": "bulk"}])
    """The texts of fields that the header has once afterwards: in the place of the first one of
    that name, or at its end."""

    add: dict[FieldName, FieldText] = Field(default={}, examples=[{"X-Relay": "mail.example.com"}])
    """The texts of fields to add at the end of the header."""

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not tuple(self._edits()):
            raise ValueError("needs an edit: remove, rename, set or add")
        return self

    def _edits(self) -> Iterator[HeaderEdit]:
        yield from (HeaderEdit(HeaderAction.REMOVE, name) for name in self.remove)
        for action in (HeaderAction.RENAME, HeaderAction.SET, HeaderAction.ADD):
            for name, value in getattr(self, action).items():
                yield HeaderEdit(action, name, value)

    def plain(self) -> HeaderFilter:
        """Return the filter as a plain value."""
        return HeaderFilter(f"header:{self.name}", tuple(self._edits()))
