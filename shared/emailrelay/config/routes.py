"""The table ``[[route]]``: the servers for some of the mail."""

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
    # Pydantic's min_length would count only the valid ones and so report a second problem.
    if not items:
        raise ValueError("must have at least one")
    return items


RoutePatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(check_pattern)], ...],
    AfterValidator(_some),
    Metavar("PATTERNS"),
]
TlsWord: TypeAlias = Literal["off", "opportunistic", "required", "implicit"]


class RouteSettings(Table):
    """The servers for some of the mail.

    The first route in the file that matches a recipient is used. All other mail goes to forward_to.
    """

    sender: RoutePatterns = ("*",)
    """The envelope senders of this mail: user@domain, domain, *.domain, <> (notices, which have no
    sender) or * (all senders, and notices)."""

    recipient: RoutePatterns = ("*",)
    """The recipients of this mail: user@domain, domain, *.domain or *."""

    user: Annotated[tuple[str, ...], AfterValidator(_some), Metavar("USERS")] | None = Field(
        default=None, examples=[("alice", "bob")]
    )
    """The login names of the users who sent this mail; * is every user who logged in. By default,
    mail of all users, also without login."""

    smarthosts: Annotated[tuple[Destination, ...], AfterValidator(_some)] = Field(
        examples=[("smtp.example.net:587", "backup.example.net:587")]
    )
    """The servers, the best one first. A server is used only while those before it cannot be."""

    account: Name | None = Field(default=None, examples=["isp"])
    """The account at these servers: the name of an [[account]], or a selector of the secrets
    file."""

    tls: TlsWord | None = Field(default=None, examples=["required"])
    """The encryption of the connection: off, opportunistic (if offered), required (by STARTTLS) or
    implicit (from the first octet, port 465). By default, as for all servers."""

    tls_verify: Flag | None = Field(default=None, examples=[True])
    """The verification of the server's certificate. By default, as for all servers."""

    connections: PositiveCount | None = Field(default=None, examples=[5])
    """The maximum number of connections, across all forwarder processes on this spool. By default,
    connections_per_route in each process."""

    rate: Annotated[str, AfterValidator(_rate), Metavar("N/TIME")] | None = Field(
        default=None, examples=["30/m"]
    )
    """The maximum number of messages in a period, across all forwarder processes on this spool:
    30/m (in any minute), 500/10m, 1000/h, 2000/d."""

    envelope_from: Annotated[str, AfterValidator(_mailbox), Metavar("ADDRESS")] | None = Field(
        default=None, examples=["relay@example.com"]
    )
    """The replacement for the envelope sender: an address, or a domain that replaces only the
    domain. Notices stay without a sender, and header lines stay unchanged."""

    retry_first: Seconds | None = None
    """The pause after the first failed attempt. By default, this key and the next three are as for
    all mail."""

    retry_factor: float | None = Field(
        default=None, ge=1, le=100, allow_inf_nan=False, examples=[1.5]
    )
    """The factor by which the pause grows after each further attempt."""

    retry_longest: Seconds | None = Field(default=None, examples=[3600])
    """The longest pause."""

    max_age: Seconds | None = Field(default=None, examples=[14400])
    """The age after which a message fails at its next refusal, instead of another attempt."""

    @field_validator("name")
    @classmethod
    def _not_taken(cls, value: str) -> str:
        if value in {routes.DEFAULT, routes.ADDRESS}:
            raise ValueError("is the name of a built-in route")
        return value

    @property
    def takes_all(self) -> bool:
        """Tell whether no mail is left for the routes after it."""
        return self.user is None and "*" in self.sender and "*" in self.recipient

    def plain(self, usual: Schedule) -> routes.Route:
        """Return the route as a plain value; ``usual`` fills the gaps of its retry rule."""
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
    """Return the routes of a settings file, with the default route at the end."""
    default = routes.only(forward_to, usual).default if forward_to else None
    return routes.Routes(tuple(table.plain(usual) for table in tables), default)
