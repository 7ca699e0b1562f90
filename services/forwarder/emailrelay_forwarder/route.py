"""A server as it is configured: where it is, who we are there, and what must hold."""

import re
from dataclasses import dataclass

from emailrelay.errors import RelayError
from emailrelay_forwarder.policy import Policy

_WORDS = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]+")


class NoRoute(RelayError):
    """A destination that cannot be understood; the text says what was expected.

    Temporary, because the mistake is in a filter or in the configuration, not in the mail.
    """


@dataclass(frozen=True, slots=True)
class Route:
    """A server: ``host`` and ``port`` (number or service name), or the path of a unix socket."""

    host: str
    port: str
    account: str = ""
    """Which account signs in there, by its selector; empty: the one without a selector, if any."""
    policy: Policy | None = None
    """What must hold on the connection; None: what holds for all servers."""

    @property
    def is_unix(self) -> bool:
        """Whether ``host`` is the path of a unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        """Give the route as it is configured and logged."""
        if self.is_unix:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(destination: str) -> Route:
    """Read ``host:port``, ``[IPv6]:port``, ``host:service`` or ``/path``.

    Raises:
        NoRoute: it is none of these.

    """
    if destination.startswith("/"):
        return Route(destination, "")
    host, colon, port = destination.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    # The C library takes a port of 65561 for 25.
    possible = not port.isdigit() or (port.isascii() and 0 < int(port[:6]) < 65536)
    if not (colon and host and port and possible) or not _WORDS.fullmatch(host + port):
        raise NoRoute(f"cannot forward to {destination!r}: neither HOST:PORT nor an absolute path")
    return Route(host, port)
