"""The settings about delivery: the next server, attempts and retries."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from emailrelay.config.declared import Declared
from emailrelay.config.routes import RouteSettings
from emailrelay.config.tables import Tables
from emailrelay.config.values import (
    AtStart,
    ClientExtensions,
    Destination,
    Flag,
    IpAddress,
    PositiveCount,
    Seconds,
)
from emailrelay.filters.spec import split_list, unquoted
from emailrelay.schedule import Schedule


class RetryOptions(Declared):
    """Retries."""

    retry_first: Seconds = 60.0
    """The pause after the first failed attempt. Each pause is shortened at random by up to a
    fifth."""

    retry_factor: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False)
    """The factor by which the pause grows after each further attempt."""

    retry_longest: Seconds = 3600.0
    """The longest pause."""

    max_age: Seconds = 432000.0
    """The age after which a message fails at its next refusal, instead of another attempt (5
    days)."""

    @field_validator("retry_longest")
    @classmethod
    def _not_shorter_than_first(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("retry_first", value)
        if value < first:
            raise ValueError(f"must not be shorter than retry_first ({first:g})")
        return value

    @property
    def schedule(self) -> Schedule:
        """Return the retry rule of these options."""
        return Schedule(
            first=self.retry_first,
            factor=self.retry_factor,
            longest=self.retry_longest,
            max_age=self.max_age,
        )


class ForwardOptions(Declared):
    """Next server."""

    forward_to: Destination | None = None
    """The next mail server (smarthost), as host and port, or the path of its unix socket. The port
    is a number or a service name. Required, unless the last [[route]] takes all mail, or mx: is a
    client filter."""

    client_interface: IpAddress | None = None
    """The local address to connect from. By default, the system chooses it."""

    @field_validator("forward_to")
    @classmethod
    def _given(cls, value: str | None, info: ValidationInfo) -> str | None:
        routes: tuple[RouteSettings, ...] | None = info.data.get("route")
        filters: list[str] | None = info.data.get("client_filter")
        if routes is None or filters is None:  # They are wrong, and their own problem is enough.
            return value
        specs = (unquoted(part) for listed in filters for part in split_list(listed))
        finds_servers = any(spec.startswith("mx:") for spec in specs)
        if value is None and not finds_servers and not any(route.takes_all for route in routes):
            rest = "for mail that matches no [[route]]; " if routes else "to forward to; "
            raise ValueError(f"there is no server {rest}give the smarthost as HOST:PORT")
        return value


class RouteOptions(Declared):
    """Routes."""

    route: Tables[RouteSettings] = ()
    """Other servers for some mail, by its sender, recipient or user."""


class DeliveryOptions(Declared):
    """Delivery."""

    poll: Seconds | None = None
    """Try all deferred mail again at this interval, whatever its retry time. By default, each
    message has its own retry time. New mail is noticed at once in both cases."""

    once: Annotated[Flag, AtStart()] = False
    """Make one attempt for every message that is ready, whatever its retry time, then exit. The
    exit status is 0 if all messages were delivered, otherwise 1. Messages that wait for their
    filters count as not delivered; held messages do not count."""

    connections_per_route: Annotated[PositiveCount, AtStart()] = 50
    """The maximum number of connections to one server, in each worker. The forwarder begins with at
    most 20. It opens more if the server is slow and accepts them, and fewer if the server asks for
    that."""

    connection_timeout: Seconds = 40.0
    """The time limit for making a connection."""

    prompt_timeout: Seconds | None = None
    """The maximum time to wait for the server's greeting. Without a greeting, the forwarder pauses
    for this server. By default 20 at first, then twice as long after each silence, up to 300 (RFC
    5321 4.5.3.2.1); a single pass (once) waits up to 300. A configured time does not grow."""

    response_timeout: Seconds | None = None
    """The maximum time to wait for each reply. By default 600 after the final dot and 300 otherwise
    (RFC 5321 4.5.3.2)."""

    stop_grace: Annotated[Seconds, AtStart()] = 3.0
    """The time to wait, after a stop signal, for the reply to a final dot. Without the reply, the
    message is sent again later. The server may then get it twice, and the log contains
    possible_duplicate. Allow the service two seconds more before you kill it."""

    forward_to_all: Flag = False
    """With immediate delivery (ack = delivered): deliver to all recipients or to none; if one is
    refused, the client gets that refusal. This is what happens unless forward_to_some is set."""

    forward_to_some: Flag = False
    """With immediate delivery (ack = delivered): accept if any recipient is accepted. The others
    are tried again, or the sender gets a report of their refusal. Other mail always goes to the
    accepted recipients."""

    no_retry: Flag = False
    """Fail a refused recipient or message at once, even after a temporary refusal. If the server
    cannot be reached or the connection breaks, the message is still tried again."""

    client_smtp_config: ClientExtensions = []
    """SMTP extensions not to use, as -NAME, for servers with bad implementations. The names are
    pipelining, 8bitmime, smtputf8, dsn and size. By default, all that the server offers are
    used."""

    @field_validator("forward_to_some")
    @classmethod
    def _some_or_all(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and info.data.get("forward_to_all"):
            raise ValueError("contradicts forward_to_all; leave out one of the two")
        return value

    @field_validator("once")
    @classmethod
    def _once_or_again(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 -- pydantic calls it
        if value and info.data.get("poll") is not None:
            raise ValueError("with poll makes no sense: leave out one of the two")
        return value
