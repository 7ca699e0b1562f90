"""The table ``[[route]]``: which mail goes to which servers, and how."""

import re
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, Field, field_validator

from emailrelay import routes
from emailrelay.address_pattern import check_pattern
from emailrelay.config.tables import Name, Table
from emailrelay.config.values import Destination, Flag, Metavar, PositiveCount, Seconds
from emailrelay.schedule import Schedule


def _rate(text: str) -> str:
    routes.parse_rate(text)
    return text


def _mailbox(text: str) -> str:
    if not re.fullmatch(r"(?:[^\s@<>\"]{1,64}@)?[^\s@<>\"]{1,255}", text) or not text.isascii():
        raise ValueError("must be an address or a domain, as in relay@example.com or example.com")
    return text


def _some(items: tuple[str, ...]) -> tuple[str, ...]:
    # Not pydantic's min_length, which counts only the good ones and so complains twice.
    if not items:
        raise ValueError("must have at least one")
    return items


def _free(name: str) -> str:
    if name in {routes.DEFAULT, routes.ADDRESS}:
        raise ValueError("is the name of a route that is always there")
    return name


RoutePatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(check_pattern)], ...],
    AfterValidator(_some),
    Metavar("PATTERNS"),
]
TlsWord: TypeAlias = Literal["off", "opportunistic", "required", "implicit"]


class RouteSettings(Table):
    """A way for some of the mail.

    The first in the file that fits a recipient takes it; what fits none goes to forward_to.
    """

    sender: RoutePatterns = ("*",)
    """Envelope senders it is for: user@domain, domain, *.domain, <> (notices, which have none) or *
    (all of them, and none)."""

    recipient: RoutePatterns = ("*",)
    """Recipients it is for: user@domain, domain, *.domain or *."""

    user: Annotated[tuple[str, ...], AfterValidator(_some), Metavar("USERS")] | None = Field(
        default=None, examples=[("alice", "bob")]
    )
    """Users it is for, by the name they logged in with; * is everyone who logged in. By default it
    does not matter who did."""

    smarthosts: Annotated[tuple[Destination, ...], AfterValidator(_some)] = Field(
        examples=[("smtp.example.net:587", "backup.example.net:587")]
    )
    """The servers, the best one first: the next is asked while those before it cannot be used."""

    account: Name | None = Field(default=None, examples=["isp"])
    """Who we are there: the name of an [[account]], or a selector of the secrets file."""

    tls: TlsWord | None = Field(default=None, examples=["required"])
    """When the connection is encrypted: off, opportunistic (if offered), required (by STARTTLS) or
    implicit (from the first octet, port 465); by default as for all servers."""

    tls_verify: Flag | None = Field(default=None, examples=[True])
    """Whether the server must prove who it is; by default as for all servers."""

    connections: PositiveCount | None = Field(default=None, examples=[5])
    """The most connections at a time, over all forwarder processes on this spool; by default
    connections_per_route in each process."""

    rate: Annotated[str, AfterValidator(_rate), Metavar("N/TIME")] | None = Field(
        default=None, examples=["30/m"]
    )
    """The most messages in a time, over all forwarder processes on this spool: 30/m (in any minute),
    500/10m, 1000/h, 2000/d."""

    envelope_from: Annotated[str, AfterValidator(_mailbox), Metavar("ADDRESS")] | None = Field(
        default=None, examples=["relay@example.com"]
    )
    """What takes the place of the envelope sender: an address, or a domain that takes the place of its
    domain only. Notices stay without sender, and the message's header lines stay as they are."""

    retry_first: Seconds | None = None
    """The pause after the first failed attempt; this and the next three by default as for all mail."""

    retry_factor: float | None = Field(
        default=None, ge=1, le=100, allow_inf_nan=False, examples=[1.5]
    )
    """How much longer each further pause is than the one before."""

    retry_longest: Seconds | None = Field(default=None, examples=[3600])
    """No pause is longer than this."""

    max_age: Seconds | None = Field(default=None, examples=[14400])
    """A message older than this fails at its next refusal instead of being tried again."""

    @field_validator("name")
    @classmethod
    def _not_taken(cls, value: str) -> str:
        return _free(value)

    @property
    def takes_all(self) -> bool:
        """Whether no mail is left for the routes behind it."""
        return self.user is None and "*" in self.sender and "*" in self.recipient

    def plain(self, usual: Schedule) -> routes.Route:
        """Return the route as a plain value, with what was left out taken from all mail's."""
        first = self.retry_first or usual.first
        return routes.Route(
            name=self.name,
            smarthosts=self.smarthosts,
            sender=self.sender,
            recipient=self.recipient,
            user=self.user,
            account=self.account,
            tls=self.tls,
            tls_verify=self.tls_verify,
            connections=self.connections,
            rate=None if self.rate is None else routes.parse_rate(self.rate),
            schedule=Schedule(
                first=first,
                factor=self.retry_factor or usual.factor,
                longest=self.retry_longest or max(usual.longest, first),
                max_age=self.max_age or usual.max_age,
            ),
            envelope_from=self.envelope_from,
        )


def all_routes(
    tables: tuple[RouteSettings, ...], forward_to: str | None, usual: Schedule
) -> routes.Routes:
    """Return the routes of a settings file with the default that they end in."""
    default = routes.only(forward_to, usual).default if forward_to else None
    return routes.Routes(tuple(table.plain(usual) for table in tables), default)
