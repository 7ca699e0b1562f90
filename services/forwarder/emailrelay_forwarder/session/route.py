"""A server as configured: its address, our account there, and its policy."""

from dataclasses import dataclass

from emailrelay import host_port
from emailrelay.errors import RelayError
from emailrelay.host_port import HostPort, UnixPath
from emailrelay_forwarder.session.policy import Policy


class NoRoute(RelayError):
    """A destination is invalid; the text says what was expected.

    Temporary, because the error is in a filter or in the configuration, not in the mail.
    """


@dataclass(frozen=True, slots=True)
class NextServer:
    """A server: ``host`` and ``port`` (number or service name), or the path of a unix socket."""

    host: str
    port: str
    account: str = ""
    """The selector of the account; empty: the account without a selector, if any."""
    policy: Policy | None = None
    """The policy of the connection; None: that of all servers."""

    @property
    def is_unix(self) -> bool:
        """True if ``host`` is the path of a unix socket."""
        return self.host.startswith("/")

    def __str__(self) -> str:
        """Write the server as configured and logged."""
        if self.is_unix:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(destination: str) -> NextServer:
    """Read ``host:port``, ``[IPv6]:port``, ``host:service`` or ``/path``.

    Raises:
        NoRoute: it is none of these.

    """
    try:
        address = host_port.parse(destination.strip())
    except ValueError as error:
        raise NoRoute(f"cannot forward to {destination!r}: {error}") from error
    match address:
        case HostPort(host, port):
            return NextServer(host, port)
        case UnixPath(path):
            return NextServer(path, "")
