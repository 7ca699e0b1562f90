"""The table ``[[route]]``: which mail goes to which servers, and how."""

from typing import Annotated, TypeAlias

from pydantic import Field

from emailrelay.config.tables import Name, Table
from emailrelay.config.values import Count, Destination, Metavar, Seconds

Patterns: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1), Metavar("PATTERNS")]


class Route(Table):
    """A way for some of the mail.

    The first in the file that fits a recipient takes it; what fits none goes to forward_to.
    """

    sender: Patterns = ("*",)
    """Envelope senders it is for: user@domain, domain, *.domain, * (anyone) or <> (notices)."""

    recipient: Patterns = ("*",)
    """Recipients it is for: user@domain, domain, *.domain or * (anyone)."""

    user: Patterns | None = Field(default=None, examples=[("alice", "bob")])
    """Users it is for, by the name they logged in with; * is everyone who logged in. By default it
    does not matter who did."""

    smarthosts: Annotated[tuple[Destination, ...], Field(min_length=1)] = Field(
        examples=[("smtp.example.net:587", "backup.example.net:587")]
    )
    """The servers, in order: the next one is asked while those before it are out of order."""

    account: Name | None = Field(default=None, examples=["isp"])
    """The [[account]] to log in with; by default none."""

    connections: Count | None = Field(default=None, examples=[5])
    """The most connections at a time, over all forwarder processes; by default
    connections_per_route in each process."""

    retry_first: Seconds | None = None
    """The pause after the first failed attempt; this and the next three are by default those of all mail."""

    retry_factor: float | None = Field(
        default=None, ge=1, le=100, allow_inf_nan=False, examples=[1.5]
    )
    """How much longer each further pause is than the one before."""

    retry_longest: Seconds | None = None
    """No pause is longer than this."""

    max_age: Seconds | None = Field(default=None, examples=[14400])
    """A message older than this fails at its next refusal instead of being tried again."""
