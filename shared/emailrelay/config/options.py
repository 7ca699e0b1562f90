"""The settings of each service, as combinations of groups of options.

This declaration is the only place of a default, a bound and a description. The help, the reader of
file and environment, and the reference use it. The short help of the legacy command shows only
the first sentence of a description.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, cast

from pydantic import BeforeValidator, Field

from emailrelay.config.accounts import AccountOptions
from emailrelay.config.bouncing import AliasOptions, BounceOptions
from emailrelay.config.clients import AccessOptions, EncryptionOptions
from emailrelay.config.console import ConsoleOptions
from emailrelay.config.declared import Declared
from emailrelay.config.delivering import DeliveryOptions, ForwardOptions, RetryOptions, RouteOptions
from emailrelay.config.filtering import ClientFilterOptions, FilterOptions, FilterRunOptions
from emailrelay.config.receiving import AcceptOptions, ConnectionOptions, ListenOptions
from emailrelay.config.recipient_checks import RecipientCheckOptions
from emailrelay.config.routes import all_routes
from emailrelay.config.servers import ServerEncryptionOptions, SignInOptions, TlsVersionOptions
from emailrelay.config.values import (
    Addresses,
    AtStart,
    Bytes,
    Count,
    DirectoryPath,
    Domain,
    Flag,
    Port,
    PositiveCount,
    ServiceNames,
)
from emailrelay.routes import Routes
from emailrelay.spool_dir import default as default_spool_dir
from emailrelay.spool_sync import SpoolSync


class LogFormat(StrEnum):
    """The format of events on standard output."""

    AUTO = "auto"
    JSON = "json"
    LOGFMT = "logfmt"
    CONSOLE = "console"


class LogMailAddresses(StrEnum):
    """The part of a mail address that the log shows."""

    FULL = "full"
    DOMAIN = "domain"
    NONE = "none"


def _spool_dir() -> Path:
    """/var/spool/emailrelay if it exists, else /usr/local/var/spool/emailrelay."""
    return Path(default_spool_dir())


def _place(value: object) -> object:
    """Write a list of URLs with spaces between.

    Raises:
        ValueError: one of them is a bare word. It would be a directory in the one that happens to
            be the current one, and a word such as "memory" is meant to be something else.

    """
    if isinstance(value, list):
        return " ".join(str(_place(each)) for each in cast("list[object]", value))
    if isinstance(value, str) and value and not {":", "/"} & set(value):
        raise ValueError(
            "name a store by its URL: spool:///DIR, postgresql://USER@HOST/DATABASE, or memory:"
            " (mail there is lost when the process ends)"
        )
    return value


class StoreOptions(Declared):
    """Spool."""

    spool_dir: Annotated[DirectoryPath, AtStart()] = Field(default_factory=_spool_dir)
    """The spool directory. It is created if it does not exist."""

    store: Annotated[str | None, AtStart(), BeforeValidator(_place)] = None
    """The URL of a store: spool:///DIR, postgresql://USER@HOST/DATABASE, or memory: for tests. It
    takes precedence over spool_dir. The mail in memory: is lost when the process ends. Several
    databases, as a list or as URLs with spaces between them, are used together."""

    @property
    def store_place(self) -> str | Path:
        """Return the argument for ``open_store``."""
        return self.store or self.spool_dir


class FallbackOptions(Declared):
    """Fallback."""

    store_fallback: Annotated[str | None, AtStart()] = None
    """The spool of this host, spool:///DIR, that takes new mail while the database of store is
    unavailable. The receiver moves it into the database when that is back. No other service works
    on it. Mail with ack filtered or delivered is answered with 451 meanwhile."""


class StoringOptions(FallbackOptions):
    """Durability."""

    spool_sync: Annotated[SpoolSync, AtStart()] = SpoolSync.FILES
    """The data on stable storage before a message is acknowledged. files: the two files of the
    message; log: a record in a log under the spool directory, and the files later. With log, the
    relay accepts more messages per second."""


class HistoryOptions(Declared):
    """History."""

    history_days: Annotated[Count, AtStart()] = 30
    """The days for which the store keeps a record of each message that has left it, besides the
    current day. emailrelay-queue trace shows the records. 0: none are kept."""

    history_size: Annotated[Bytes, AtStart()] = 1024 * 1024 * 1024
    """The maximum size of these records. The oldest are removed first. 0: none are kept."""


class ProcessOptions(Declared):
    """Processes."""

    workers: Annotated[PositiveCount, AtStart()] = 1
    """The number of worker processes. A single worker needs no supervisor."""


class LogOptions(Declared):
    """Log."""

    log_format: Annotated[LogFormat, AtStart()] = LogFormat.AUTO
    """The format of events on standard output, one per line. auto: console on a terminal, json
    otherwise."""

    log_mail_addresses: Annotated[LogMailAddresses, AtStart()] = LogMailAddresses.FULL
    """The part of mail addresses that the log shows. full: the address; domain: the domain, with *
    in place of the mailbox; none: a * for each address. It also applies to addresses in replies of
    servers and in SMTP dialogues, and to the names of users."""

    verbose: Annotated[Flag, AtStart()] = False
    """Log the SMTP dialogues too, without secrets and message texts. Clients that leave without a
    command and the tracebacks of internal errors are also logged."""

    debug: Annotated[Flag, AtStart()] = False
    """Log as with verbose, and show what filter programs write to standard error."""


class MonitorOptions(Declared):
    """Monitoring."""

    runtime_dir: Annotated[DirectoryPath | None, AtStart()] = Field(
        default=None, examples=["/run/emailrelay"]
    )
    """The directory to which the services of this host write their state and their counters for
    emailrelay-monitor, such as /run/emailrelay. By default, they write neither."""


class EndpointOptions(Declared):
    """Metrics and health."""

    monitor_interface: Annotated[Addresses, AtStart()] = ["127.0.0.1"]
    """The addresses on which emailrelay-monitor answers: IP addresses or paths of unix sockets. It
    has no authentication, so protect any other address with a firewall or a proxy."""

    monitor_port: Annotated[Port, AtStart()] = 9925
    """The TCP port of emailrelay-monitor."""


class MonitoredOptions(Declared):
    """Monitored services."""

    monitored: Annotated[ServiceNames, AtStart()] = Field(
        default=[], examples=[["receiver", "forwarder"]]
    )
    """The services that should run on this host: receiver, filterd, forwarder. By default, receiver
    and forwarder, and filterd if it has been started."""


class DomainOptions(Declared):
    """Name of this host."""

    domain: Domain | None = None
    """The name of this host in greetings, EHLO and Received lines, and for filters. By default, the
    name of the machine."""


class Settings(StoreOptions, HistoryOptions, ProcessOptions, MonitorOptions, LogOptions):
    """The settings of every service.

    ``service`` is its name in logs, ``program`` its command. Its help shows the settings in
    ``most_used`` first.
    """

    service: ClassVar[str]
    program: ClassVar[str]
    summary: ClassVar[str]
    most_used: ClassVar[tuple[str, ...]] = ()


class ReceiverSettings(
    ConnectionOptions,
    AccessOptions,
    EncryptionOptions,
    TlsVersionOptions,
    RecipientCheckOptions,
    AcceptOptions,
    FilterOptions,
    AliasOptions,
    DomainOptions,
    ListenOptions,
    StoringOptions,
    Settings,
):
    """Settings of the receiver."""

    service = "receiver"
    program = "emailrelay-receiver"
    summary = "Receives mail over SMTP and puts it into the store."
    most_used = (
        "port",
        "interface",
        "remote_clients",
        "server_auth",
        "server_tls",
        "server_tls_certificate",
        "spool_dir",
        "verbose",
    )


class FilterdSettings(RetryOptions, FilterRunOptions, FilterOptions, DomainOptions, Settings):
    """Settings of filterd."""

    service = "filterd"
    program = "emailrelay-filterd"
    summary = "Runs the filters on new mail, and then accepts, rejects or drops it."
    most_used = ("filter", "filter_timeout", "spool_dir", "verbose")


class ForwarderSettings(
    RetryOptions,
    RecipientCheckOptions,
    DeliveryOptions,
    AccountOptions,
    SignInOptions,
    ServerEncryptionOptions,
    TlsVersionOptions,
    AliasOptions,
    DomainOptions,
    BounceOptions,
    ForwardOptions,
    RouteOptions,
    ClientFilterOptions,
    Settings,
):
    """Settings of the forwarder."""

    service = "forwarder"
    program = "emailrelay-forwarder"
    summary = "Delivers mail from the store to the smarthost, and retries deferred mail."
    most_used = (
        "forward_to",
        "client_auth",
        "client_tls",
        "client_tls_required",
        "poll",
        "spool_dir",
        "verbose",
    )

    @property
    def routes(self) -> Routes:
        """Return the routes of these settings."""
        return all_routes(self.route, self.forward_to, self.schedule)


class MonitorSettings(MonitoredOptions, EndpointOptions, FallbackOptions, Settings):
    """Settings of the monitor."""

    service = "monitor"
    program = "emailrelay-monitor"
    summary = "Answers Prometheus and health checks about the services of this host."
    most_used = ("monitor_interface", "monitor_port", "monitored", "spool_dir")


class ConsoleSettings(MonitoredOptions, ConsoleOptions, FallbackOptions, Settings):
    """Settings of the console."""

    service = "console"
    program = "emailrelay-console"
    summary = "Shows the queue, the routes and the history in a browser."
    most_used = ("console_interface", "console_port", "console_auth", "console_url", "spool_dir")


SERVICES: tuple[type[Settings], ...] = (
    ReceiverSettings,
    FilterdSettings,
    ForwarderSettings,
    MonitorSettings,
    ConsoleSettings,
)
"""The services that share one settings file."""
