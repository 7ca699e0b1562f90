"""The settings of each service, as combinations of groups of options.

This declaration is the only place of a default, a bound and a description. The help, the reader of
file and environment, and the reference use it. The first sentence of a description stands alone in the
short help of the historical command.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from emailrelay.ack import Ack
from emailrelay.config.accounts import AccountOptions
from emailrelay.config.clients import AccessOptions, EncryptionOptions
from emailrelay.config.declared import Declared
from emailrelay.config.routes import RouteSettings, all_routes
from emailrelay.config.servers import ServerEncryptionOptions, SignInOptions, TlsVersionOptions
from emailrelay.config.tables import Tables
from emailrelay.config.values import (
    Addresses,
    Anonymities,
    AtStart,
    Bytes,
    ClientExtensions,
    Destination,
    DirectoryPath,
    Domain,
    Filters,
    Flag,
    IpAddress,
    Port,
    PositiveCount,
    Seconds,
    ServerExtensions,
)
from emailrelay.routes import Routes
from emailrelay.schedule import Schedule
from emailrelay.spool_dir import default as default_spool_dir
from emailrelay.spool_sync import SpoolSync


class LogFormat(StrEnum):
    """The format of events on standard output."""

    AUTO = "auto"
    JSON = "json"
    LOGFMT = "logfmt"
    CONSOLE = "console"


def _spool_dir() -> Path:
    """/var/spool/emailrelay if it exists, else /usr/local/var/spool/emailrelay."""
    return Path(default_spool_dir())


class StoreOptions(Declared):
    """Spool."""

    spool_dir: Annotated[DirectoryPath, AtStart()] = Field(default_factory=_spool_dir)
    """The spool directory. It is made if it does not exist."""

    store: Annotated[str | None, AtStart()] = None
    """The URL of a store: spool:///DIR, or memory: for tests. It takes precedence over spool_dir.
    The mail in memory: is lost when the process ends."""

    @property
    def store_place(self) -> str | Path:
        """Return the argument for ``open_store``."""
        return self.store or self.spool_dir


class StoringOptions(Declared):
    """Durability."""

    spool_sync: Annotated[SpoolSync, AtStart()] = SpoolSync.FILES
    """The data on stable storage before a message is acknowledged. files: the two files of the
    message; log: a record in a log under the spool directory, and the files later. With log, the
    relay accepts more messages per second."""


class ProcessOptions(Declared):
    """Processes."""

    workers: Annotated[PositiveCount, AtStart()] = 1
    """The number of worker processes. A single worker needs no supervisor."""


class LogOptions(Declared):
    """Log."""

    log_format: Annotated[LogFormat, AtStart()] = LogFormat.AUTO
    """The format of events on standard output, one per line. auto: console on a terminal, json
    otherwise."""

    verbose: Annotated[Flag, AtStart()] = False
    """Log the SMTP dialogues too, without secrets and message texts. Clients that leave without a
    command and the tracebacks of internal errors are also logged."""

    debug: Annotated[Flag, AtStart()] = False
    """Log as with verbose, and show what filter programs write to standard error."""


class DomainOptions(Declared):
    """Name of this host."""

    domain: Domain | None = None
    """The name of this host in greetings, EHLO and Received lines. By default, the name of the
    machine."""


class RetryOptions(Declared):
    """Retries."""

    retry_first: Seconds = 60.0
    """The pause after the first failed attempt. Each pause is shortened at random by up to a
    fifth."""

    retry_factor: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False)
    """The factor by which each further pause is longer than the one before."""

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


class FilterTimeOptions(Declared):
    """Filter time limit."""

    filter_timeout: Seconds = 60.0
    """The most time for one filter. A slower filter is ended, and the message is tried again
    later."""


class FilterOptions(FilterTimeOptions):
    """Filters."""

    filter: Filters = []
    """The filters of all incoming mail, in order: paths of programs, net:HOST:PORT, spam:HOST:PORT,
    spam-edit:HOST:PORT, msgid:, exit:N. Can be repeated. The receiver needs this setting too: with
    filters, new mail waits for them before it is forwarded."""


class FilterRunOptions(Declared):
    """Filter processes."""

    filter_jobs: Annotated[PositiveCount, AtStart()] = 4
    """The most messages in filters at a time, in each worker."""


class ClientFilterOptions(FilterRunOptions, FilterTimeOptions):
    """Client filters."""

    client_filter: Filters = []
    """Filters that get a fresh copy of each message before every attempt to send it. The relay
    sends their changes, but does not keep them. Can be repeated."""


class ListenOptions(Declared):
    """Listening."""

    port: Annotated[Port, AtStart()] = 25
    """The TCP port to listen on. With 0 the system chooses a free one, and the log shows it."""

    interface: Annotated[Addresses, AtStart()] = []
    """The addresses to listen on: IP addresses, fd#N (an inherited socket) or paths of unix
    sockets. By default, all addresses of the machine. Can be repeated."""

    remote_clients: Flag = False
    """Serve clients on other hosts too, not only on this machine."""

    anonymous: Anonymities = []
    """The information to withhold: vrfy (no answers to VRFY), server (a bare greeting), content (no
    Received line), client (no client address in the envelope). Without a list, all of them."""


class AcceptOptions(Declared):
    """Accepting mail."""

    ack: Ack = Ack.STORED
    """The moment at which a message is answered with 250. stored: it is on stable storage;
    filtered: the filters have accepted it; delivered: the next server has accepted it."""

    size: Bytes = 104857600
    """The size of the largest message to accept (100 MiB). 0 means no limit."""

    recipients: PositiveCount = 1000
    """The most recipients of one message. Further ones get 452, and clients send them again (at
    least 100: RFC 5321 4.5.3.1.8)."""

    minimum_free: Bytes = 104857600
    """The free space that the store must have besides the message (100 MiB). With less, the
    receiver answers 452."""

    server_smtp_config: ServerExtensions = []
    """SMTP extensions not to offer to clients, as -NAME. The names are pipelining, 8bitmime,
    smtputf8, dsn and chunking. By default, all are offered."""

    @field_validator("ack")
    @classmethod
    def _filtered_by_something(cls, value: Ack, info: ValidationInfo) -> Ack:
        if value is Ack.FILTERED and info.data.get("filter") == []:
            raise ValueError("needs a filter to wait for; set filter, or choose stored")
        return value


class ConnectionOptions(Declared):
    """Limits on clients."""

    connections: PositiveCount = 1000
    """The most client connections at a time, in each worker. A tenth of them is for clients on this
    machine and for addresses from which a client has logged in. When all places are taken, a new
    client gets the place of a client without login that has been idle for at least 5 seconds, or
    else it gets 421."""

    client_connections: PositiveCount = 100
    """The most connections at a time from one address, in each worker. An IPv6 network of 64 bits
    counts as one address, and so do all loopback addresses."""

    idle_timeout: Seconds = 60.0
    """The time after which a silent client gets 421."""

    first_mail_timeout: Seconds = 30.0
    """The same time before the first MAIL of a client without login."""

    session_timeout: Seconds = 3600.0
    """The longest time of a session. It ends after the current command or message."""


class ForwardOptions(Declared):
    """Next server."""

    forward_to: Destination | None = None
    """The next mail server (smarthost), as host and port, or the path of its unix socket. The port
    is a number or a service name. Required, unless the last [[route]] takes all mail."""

    client_interface: IpAddress | None = None
    """The local address to connect from. By default, the system chooses it."""

    @field_validator("forward_to")
    @classmethod
    def _given(cls, value: str | None, info: ValidationInfo) -> str | None:
        routes: tuple[RouteSettings, ...] | None = info.data.get("route")
        if routes is None:  # They are wrong, and their own problem is enough.
            return value
        if value is None and not any(route.takes_all for route in routes):
            rest = "for mail that fits no [[route]]; " if routes else "to forward to; "
            raise ValueError(f"there is nowhere {rest}give the smarthost as HOST:PORT")
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
    exit status is 0 if all messages were delivered, otherwise 1."""

    connections_per_route: Annotated[PositiveCount, AtStart()] = 50
    """The most connections to one server at a time, in each worker. The forwarder begins with at
    most 20. It opens more if the server is slow and accepts them, and fewer if the server asks for
    that."""

    connection_timeout: Seconds = 40.0
    """The most time to make a connection."""

    prompt_timeout: Seconds | None = None
    """The most time to wait for the server's greeting. Without a greeting, the forwarder pauses for
    this server. By default 20 at first, then twice as long after each silence, up to 300 (RFC 5321
    4.5.3.2.1); a single pass (once) waits up to 300. A configured time does not grow."""

    response_timeout: Seconds | None = None
    """The most time to wait for each reply. By default 600 after the final dot and 300 otherwise
    (RFC 5321 4.5.3.2)."""

    stop_grace: Annotated[Seconds, AtStart()] = 3.0
    """The time to wait, after a stop signal, for the reply to a final dot. Without the reply, the
    message is sent again later. The server may then get it twice, and the log contains
    possible_duplicate. Allow the service two seconds more before you kill it."""

    forward_to_all: Flag = False
    """With immediate delivery (ack = delivered): deliver to all recipients, or to none with the
    first refusal as the answer. This is the default."""

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


class Settings(StoreOptions, ProcessOptions, LogOptions):
    """The settings of every service. ``service`` is its name in logs, ``program`` its command."""

    service: ClassVar[str]
    program: ClassVar[str]
    summary: ClassVar[str]


class ReceiverSettings(
    ConnectionOptions,
    AccessOptions,
    EncryptionOptions,
    TlsVersionOptions,
    AcceptOptions,
    FilterOptions,
    DomainOptions,
    ListenOptions,
    StoringOptions,
    Settings,
):
    """Settings of the receiver."""

    service = "receiver"
    program = "emailrelay-receiver"
    summary = "Receives mail over SMTP and puts it into the store."


class FilterdSettings(RetryOptions, FilterRunOptions, FilterOptions, Settings):
    """Settings of filterd."""

    service = "filterd"
    program = "emailrelay-filterd"
    summary = "Runs the filters on new mail, and then accepts, rejects or drops it."


class ForwarderSettings(
    RetryOptions,
    ClientFilterOptions,
    DeliveryOptions,
    AccountOptions,
    SignInOptions,
    ServerEncryptionOptions,
    TlsVersionOptions,
    DomainOptions,
    ForwardOptions,
    RouteOptions,
    Settings,
):
    """Settings of the forwarder."""

    service = "forwarder"
    program = "emailrelay-forwarder"
    summary = "Delivers mail from the store to the smarthost, and retries deferred mail."

    @property
    def routes(self) -> Routes:
        """Return the routes of these settings."""
        return all_routes(self.route, self.forward_to, self.schedule)


SERVICES: tuple[type[Settings], ...] = (ReceiverSettings, FilterdSettings, ForwarderSettings)
"""The services that share one settings file."""
