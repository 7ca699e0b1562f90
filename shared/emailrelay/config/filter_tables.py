"""The tables of the settings file for filters, such as ``[[pipe]]``."""

from pydantic import Field

from emailrelay.config.security_values import FilePath
from emailrelay.config.tables import Table
from emailrelay.config.values import Count
from emailrelay.filters.shipped.parameters import PipeFilter


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
