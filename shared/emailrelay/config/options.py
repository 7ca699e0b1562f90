"""What can be set: groups of options, combined into the settings of each service.

This declaration is the only place of a default, a bound and a description; the help texts, the
reading of file and environment, and the reference are made from it.
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
    """How an event is written to standard output."""

    AUTO = "auto"
    JSON = "json"
    LOGFMT = "logfmt"
    CONSOLE = "console"


def _spool_dir() -> Path:
    """/var/spool/emailrelay if it is there, else /usr/local/var/spool/emailrelay."""
    return Path(default_spool_dir())


class StoreOptions(Declared):
    """Where mail is kept."""

    spool_dir: Annotated[DirectoryPath, AtStart()] = Field(default_factory=_spool_dir)
    """The spool directory; made if it is missing."""

    store: Annotated[str | None, AtStart()] = None
    """A store other than a spool directory, as a URL (spool:///DIR, postgresql://USER@HOST/DATABASE,
    memory:); it goes before spool_dir. The mail in memory: ends with the process."""

    @property
    def store_place(self) -> str | Path:
        """Return what ``open_store`` takes."""
        return self.store or self.spool_dir


class StoringOptions(Declared):
    """How mail is kept."""

    spool_sync: Annotated[SpoolSync, AtStart()] = SpoolSync.FILES
    """What is on stable storage before a message is acknowledged: files, its own two; log, a record in a
    log under the spool directory, whose files follow. With log, more messages a second."""


class ProcessOptions(Declared):
    """Processes."""

    workers: Annotated[PositiveCount, AtStart()] = 1
    """How many worker processes share the work; a single one needs no supervisor."""


class LogOptions(Declared):
    """Log."""

    log_format: Annotated[LogFormat, AtStart()] = LogFormat.AUTO
    """How events are written to standard output, one a line; auto: console on a terminal, else
    json."""

    verbose: Annotated[Flag, AtStart()] = False
    """Log as well where in our own code an error came from."""

    debug: Annotated[Flag, AtStart()] = False
    """The same, and filterd shows what filter programs write to their standard error."""


class DomainOptions(Declared):
    """Our name."""

    domain: Domain | None = None
    """The name of this host in greetings, EHLO and Received lines; by default the machine's own."""


class RetryOptions(Declared):
    """Trying again."""

    retry_first: Seconds = 60.0
    """The pause after a message's first failed attempt. Each pause is shortened at random by up to a fifth."""

    retry_factor: float = Field(default=2.0, ge=1, le=100, allow_inf_nan=False)
    """How much longer each further pause is than the one before."""

    retry_longest: Seconds = 3600.0
    """No pause is longer than this."""

    max_age: Seconds = 432000.0
    """A message older than this fails at its next refusal instead of being tried again (5 days)."""

    @field_validator("retry_longest")
    @classmethod
    def _not_shorter_than_first(cls, value: float, info: ValidationInfo) -> float:
        first = info.data.get("retry_first", value)
        if value < first:
            raise ValueError(f"must not be shorter than retry_first ({first:g})")
        return value

    @property
    def schedule(self) -> Schedule:
        """Return the retry rule that these options describe."""
        return Schedule(
            first=self.retry_first,
            factor=self.retry_factor,
            longest=self.retry_longest,
            max_age=self.max_age,
        )


class FilterTimeOptions(Declared):
    """Patience with filters."""

    filter_timeout: Seconds = 60.0
    """A filter that takes longer is ended, and the message is tried again later."""


class FilterOptions(FilterTimeOptions):
    """Filters."""

    filter: Filters = []
    """The filter chain, in order: paths of programs, net:HOST:PORT, spam:HOST:PORT, spam-edit:HOST:PORT,
    msgid:, exit:N. Repeatable, or a comma list. The receiver needs it too, to know that mail must be
    filtered before it is forwarded."""


class FilterRunOptions(Declared):
    """Running filters."""

    filter_jobs: Annotated[PositiveCount, AtStart()] = 4
    """How many messages are filtered at the same time, in each worker."""


class ClientFilterOptions(FilterRunOptions, FilterTimeOptions):
    """Client filters."""

    client_filter: Filters = []
    """Filters that see a fresh copy of each message before every attempt to send it. What they change
    is sent, but not kept. Repeatable, or a comma list."""


class ListenOptions(Declared):
    """Listening."""

    port: Annotated[Port, AtStart()] = 25
    """The TCP port; 0 lets the system choose a free one, which the log tells."""

    interface: Annotated[Addresses, AtStart()] = []
    """The addresses to listen on: IP addresses, fd#N (an inherited socket) or paths of unix sockets;
    none means all addresses of the machine. Repeatable, or a comma list."""

    remote_clients: Flag = False
    """Serve clients on other hosts too; otherwise only those on this machine."""

    anonymous: Anonymities = []
    """What to keep to ourselves: vrfy (no answers to VRFY), server (a bare greeting), content (no
    Received line), client (no client address in the envelope); without a list, all of them."""


class AcceptOptions(Declared):
    """Taking mail in."""

    ack: Ack = Ack.STORED
    """When a message is answered with 250: stored (it is on stable storage), filtered (the filters
    have said yes), delivered (the next server has taken it)."""

    size: Bytes = 104857600
    """The largest message taken (100 MiB); 0 for no limit."""

    recipients: PositiveCount = 1000
    """The most recipients of one message; the others get 452 and come again (at least 100:
    RFC 5321 4.5.3.1.8)."""

    minimum_free: Bytes = 104857600
    """Answer 452 while the store has less room than this beside the message (100 MiB)."""

    server_smtp_config: ServerExtensions = []
    """SMTP extensions not to offer to clients, as -NAME: pipelining, 8bitmime, smtputf8, dsn, chunking.
    Without this, all are offered."""

    @field_validator("ack")
    @classmethod
    def _filtered_by_something(cls, value: Ack, info: ValidationInfo) -> Ack:
        if value is Ack.FILTERED and info.data.get("filter") == []:
            raise ValueError("needs a filter to wait for; set filter, or choose stored")
        return value


class ConnectionOptions(Declared):
    """Limits on clients."""

    connections: PositiveCount = 1000
    """The most client connections at a time, in each worker. A tenth is kept for clients of this machine
    and for addresses from which somebody has logged in. Once there is no place, a new client gets that of
    one who has not logged in and has been idle for 5 seconds or more; if there is none, it gets 421."""

    client_connections: PositiveCount = 100
    """The most connections at a time from one address, in each worker. A network of 64 bits counts as one
    address with IPv6, and all loopback addresses count as one."""

    idle_timeout: Seconds = 60.0
    """A client that is silent for so long gets 421."""

    first_mail_timeout: Seconds = 30.0
    """The same before its first MAIL, for a client that has not logged in."""

    session_timeout: Seconds = 3600.0
    """A session that lasts longer than this ends after the command or message in hand."""


class ForwardOptions(Declared):
    """Where mail goes."""

    forward_to: Destination | None = None
    """The next mail server (smarthost): host and port number or service name, or the path of a unix
    socket. Needed, unless the last [[route]] takes all mail."""

    client_interface: IpAddress | None = None
    """The local address to connect from; by default the system chooses."""

    @field_validator("forward_to")
    @classmethod
    def _given(cls, value: str | None, info: ValidationInfo) -> str | None:
        routes: tuple[RouteSettings, ...] | None = info.data.get("route")
        if routes is None:  # they are wrong, and what is said of them is enough
            return value
        if value is None and not any(route.takes_all for route in routes):
            rest = "for mail that fits no [[route]]; " if routes else "to forward to; "
            raise ValueError(f"there is nowhere {rest}give the smarthost as HOST:PORT")
        return value


class RouteOptions(Declared):
    """Routes."""

    route: Tables[RouteSettings] = ()
    """Where mail goes instead, by its sender, recipient or user."""


class DeliveryOptions(Declared):
    """Delivery."""

    poll: Seconds | None = None
    """Try all deferred mail again this often, whatever its retry time; by default each message has its
    own time. New mail is noticed at once either way."""

    once: Annotated[Flag, AtStart()] = False
    """Make one attempt for every message that is ready, whatever its retry time, then exit: 0 when
    all were delivered, 1 when some were not."""

    connections_per_route: Annotated[PositiveCount, AtStart()] = 50
    """The most connections to one server at a time, in each worker: at first at most 20, more when the
    server is slow and lets us have them, fewer when it asks for that."""

    connection_timeout: Seconds = 40.0
    """How long a connection may take to be made."""

    prompt_timeout: Seconds | None = None
    """How long to wait for the server's greeting; without one the server is left alone for a while.
    By default 20 at first, and for a server that stayed silent twice as long each time, up to 300
    (RFC 5321 4.5.3.2.1); a single pass (once) waits up to 300. A given time always holds."""

    response_timeout: Seconds | None = None
    """How long to wait for each reply; by default 600 after the final dot and 300 otherwise
    (RFC 5321 4.5.3.2)."""

    stop_grace: Annotated[Seconds, AtStart()] = 3.0
    """How long to wait, when told to stop, for the answer to a final dot that is on its way. Without it
    the message is sent again later, a second time if the server had taken it; the log says
    possible_duplicate. Whoever stops the service must wait two seconds longer before a kill."""

    forward_to_all: Flag = False
    """Where the client waits for the delivery (ack = delivered): to all recipients, or to none with the
    first refusal as the answer. So it is without being said."""

    forward_to_some: Flag = False
    """Where the client waits for the delivery: yes if any recipient is accepted. The others are tried
    again, or their refusal is reported to the sender. Other mail goes to those accepted in any case."""

    no_retry: Flag = False
    """A recipient or message that is refused fails at once, whatever the refusal says. Only a server
    that cannot be reached, or is lost on the way, is still tried again."""

    client_smtp_config: ClientExtensions = []
    """SMTP extensions not to use, for servers that offer what they do badly, as -NAME: pipelining,
    8bitmime, smtputf8, dsn, size. Without this, all that a server offers are used."""

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
    """What every service has. ``service`` is its name in logs, ``program`` its command."""

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
    summary = "Takes mail in over SMTP and puts it into the store."


class FilterdSettings(RetryOptions, FilterRunOptions, FilterOptions, Settings):
    """Settings of filterd."""

    service = "filterd"
    program = "emailrelay-filterd"
    summary = "Runs the filter chain on new mail and passes it on, rejects it or drops it."


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
    summary = "Delivers mail from the store to the smarthost, and tries again what was deferred."

    @property
    def routes(self) -> Routes:
        """Return the ways of mail that these settings describe."""
        return all_routes(self.route, self.forward_to, self.schedule)


SERVICES: tuple[type[Settings], ...] = (ReceiverSettings, FilterdSettings, ForwarderSettings)
"""Those that share one settings file."""
