"""The settings about receiving mail: listening, limits, and the answer to a message."""

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from emailrelay.ack import Ack
from emailrelay.config.declared import Declared
from emailrelay.config.values import (
    Addresses,
    Anonymities,
    AtStart,
    Bytes,
    Flag,
    Port,
    PositiveCount,
    Seconds,
    ServerExtensions,
)
from emailrelay.envelope import MOST_RECIPIENTS


class ListenOptions(Declared):
    """Listening."""

    port: Annotated[Port, AtStart()] = 25
    """The TCP port to listen on. With 0 the system chooses a free one, and the log shows it."""

    interface: Annotated[Addresses, AtStart()] = []
    """The addresses to listen on: IP addresses, fd#N (an inherited socket) or paths of unix
    sockets. By default, all addresses of the machine. A list: the option can be repeated."""

    remote_clients: Flag = False
    """Serve clients on other hosts too, not only on this machine."""

    anonymous: Anonymities = []
    """The information to withhold: vrfy (no answers to VRFY), server (a bare greeting), content (no
    Received line: the relay cannot notice then that it sends mail to itself), client (no client
    address in the envelope). Without a list, all of them."""


class AcceptOptions(Declared):
    """Accepting mail."""

    ack: Ack = Ack.STORED
    """The moment at which a message is answered with 250. stored: it is on stable storage;
    filtered: the filters have accepted it; delivered: the next server has accepted it."""

    size: Bytes = 104857600
    """The size of the largest message to accept (100 MiB). 0 means no limit."""

    recipients: Annotated[PositiveCount, Field(le=MOST_RECIPIENTS)] = 1000
    """The maximum number of recipients of one message. Further recipients get 452, and the client
    sends the message to them later. Set at least 100 (RFC 5321 4.5.3.1.8), and at most 100,000."""

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
    """The maximum number of client connections in each worker. A tenth of them is reserved for
    clients on this machine and for addresses from which a client has logged in. When all
    connections are in use, a new client replaces a client without login that has been idle for at
    least 5 seconds. If there is none, the new client gets 421."""

    client_connections: PositiveCount = 100
    """The maximum number of connections from one address, in each worker. An IPv6 network of 64
    bits counts as one address, and so do all loopback addresses."""

    idle_timeout: Seconds = 60.0
    """The time after which a silent client gets 421."""

    first_mail_timeout: Seconds = 30.0
    """The time after which a silent client without login gets 421 before its first MAIL."""

    session_timeout: Seconds = 3600.0
    """The longest duration of a session. It ends after the current command or message."""
