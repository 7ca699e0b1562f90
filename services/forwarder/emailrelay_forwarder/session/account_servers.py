"""The servers that an account is for: no password and no token goes to any other server.

Only the settings name these servers. The writer of an envelope can name a server and an account,
but the forwarder uses the account only at servers that the settings assign to it.
"""

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from emailrelay.config import ForwarderSettings
from emailrelay.errors import RelayError
from emailrelay_forwarder.session.route import NextServer, parse


class NotForServer(RelayError):
    """The account is not for this server; nothing of it was sent there."""


@dataclass(frozen=True, slots=True)
class AccountServers:
    """The servers of each account, as ``place`` writes them."""

    named: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """By account: those that a ``[[route]]`` names, and those with ``servers`` of their own."""
    usual: frozenset[str] = frozenset()
    """For all other accounts: ``forward_to`` and the servers of routes without an account."""
    tables: frozenset[str] = frozenset()
    """The names of the ``[[account]]`` tables; all other accounts are in the secrets file."""
    of_file: frozenset[str] = frozenset()
    """Further servers of all accounts of the secrets file."""

    def check(self, selector: str, server: NextServer) -> None:
        """Raise NotForServer, saying what to do, unless the account is for this server."""
        servers = self.named.get(selector, self.usual)
        if selector not in self.tables:
            servers |= self.of_file
        if place(server) not in servers:
            named = f"the account {selector!r}" if selector else "the account without a selector"
            setting = (
                "servers in its [[account]]" if selector in self.tables else "client_auth_servers"
            )
            raise NotForServer(
                f"{named} is not for {server}, so it was not used there: "
                f"add the server to {setting}, "
                "name both in a [[route]], or choose another account or server for the message"
            )


def account_servers(settings: ForwarderSettings) -> AccountServers:
    """Return the servers of each account according to the settings."""
    named: dict[str, set[str]] = {}
    usual = set(_places([settings.forward_to] if settings.forward_to else []))
    for route in settings.route:
        servers = usual if route.account is None else named.setdefault(route.account, set())
        servers |= _places(route.smarthosts)
    for table in settings.account:
        if table.servers:
            named.setdefault(table.name, set()).update(_places(table.servers))
    return AccountServers(
        named={name: frozenset(servers) for name, servers in named.items()},
        usual=frozenset(usual),
        tables=frozenset(table.name for table in settings.account),
        of_file=frozenset(_places(settings.client_auth_servers)),
    )


def place(server: NextServer) -> str:
    """Return the canonical form of a server, so that different spellings are equal.

    The name and the address of a host are different places: a certificate is for the one it names.
    """
    if server.is_unix:
        return server.host
    host = server.host.rstrip(".").lower()
    with suppress(ValueError):  # a name is not an address
        host = str(ip_address(host))
    return f"{host} {_port(server.port)}"


def _port(port: str) -> int | str:
    if port.isdigit():
        return int(port)
    try:
        return socket.getservbyname(port, "tcp")
    except OSError:
        return port


def _places(servers: Iterable[str]) -> set[str]:
    return {place(parse(server)) for server in servers}
