"""The settings of filters."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ValidationInfo, field_validator

from emailrelay.config.declared import Declared
from emailrelay.config.filter_tables import (
    ArchiveSettings,
    DisclaimerSettings,
    DkimSettings,
    HeaderSettings,
    PipeSettings,
    RewriteSettings,
)
from emailrelay.config.tables import Tables
from emailrelay.config.values import AtStart, Filters, PositiveCount, Seconds
from emailrelay.errors import ConfigError
from emailrelay.filters.shipped.parameters import FilterTables
from emailrelay.filters.spec import Filter, check_side, parse_chain
from emailrelay.filters.verdict import Side


class FilterTimeOptions(Declared):
    """Filter time limit."""

    filter_timeout: Seconds = 60.0
    """The time limit for one filter. A slower filter is ended, and the message is tried again
    later."""


class FilterTableOptions(Declared):
    """Tables for filters."""

    pipe: Tables[PipeSettings] = ()
    """Programs that stay running, for filter pipe:NAME."""

    header: Tables[HeaderSettings] = ()
    """Edits of headers, for filter header:NAME."""

    dkim: Tables[DkimSettings] = ()
    """Keys for DKIM signatures, for filter dkim:."""

    disclaimer: Tables[DisclaimerSettings] = ()
    """Footers in the text of messages, for filter disclaimer:NAME."""

    archive: Tables[ArchiveSettings] = ()
    """Maildirs with a copy of each message, for filter archive:NAME."""

    rewrite: Tables[RewriteSettings] = ()
    """Other addresses for addresses, for filter rewrite:NAME."""

    @property
    def filter_tables(self) -> FilterTables:
        """Return the tables as plain values."""
        return _tables({name: getattr(self, name) for name in FilterTableOptions.model_fields})


class FilterOptions(FilterTimeOptions, FilterTableOptions):
    """Filters."""

    filter: Filters = []
    """The filters of all incoming mail, in order: paths of programs, net:HOST:PORT, spam:HOST:PORT,
    spam-edit:HOST:PORT, milter:HOST:PORT, milter:/PATH, pipe:PROGRAM, header:EDIT, dkim:,
    disclaimer:FILE, rewrite:FILE, archive:DIR, copy:DIR, deliver:DIR, split:, mx:, msgid:, exit:N.
    A list: the option can be repeated. The receiver needs this setting too: with filters, new mail
    waits for them before it is forwarded."""

    @field_validator("filter")
    @classmethod
    def _understood(cls, specs: list[str], info: ValidationInfo) -> list[str]:
        return _checked(specs, info.data, Side.SERVER)

    @property
    def chain(self) -> tuple[Filter, ...]:
        """Return the filters in their order."""
        return parse_chain(self.filter, self.filter_tables)


class FilterRunOptions(Declared):
    """Filter processes."""

    filter_jobs: Annotated[PositiveCount, AtStart()] = 4
    """The maximum number of messages in filters at the same time, in each worker."""


class ClientFilterOptions(FilterRunOptions, FilterTimeOptions, FilterTableOptions):
    """Client filters."""

    client_filter: Filters = []
    """Filters that get a fresh copy of each message before every attempt to send it. The relay
    sends their changes, but does not keep them. A list: the option can be repeated."""

    @field_validator("client_filter")
    @classmethod
    def _understood(cls, specs: list[str], info: ValidationInfo) -> list[str]:
        return _checked(specs, info.data, Side.CLIENT)

    @property
    def client_chain(self) -> tuple[Filter, ...]:
        """Return the client filters in their order."""
        return parse_chain(self.client_filter, self.filter_tables)


def _tables(found: Mapping[str, Any]) -> FilterTables:
    """Return the plain values of the lists of tables, by their names."""
    return FilterTables(
        **{kind: {table.name: table.plain() for table in tables} for kind, tables in found.items()}
    )


def _checked(specs: list[str], data: Mapping[str, Any], side: Side) -> list[str]:
    tables = FilterTableOptions.model_fields.keys()
    if not tables <= data.keys():
        return specs  # A table is wrong, and its own problem is enough.
    try:
        check_side(parse_chain(specs, _tables({name: data[name] for name in tables})), side)
    except ConfigError as error:
        raise ValueError("; ".join(error.problems)) from error
    return specs
