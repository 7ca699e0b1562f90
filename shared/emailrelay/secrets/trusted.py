"""Networks whose clients need no authentication."""

import ipaddress
from dataclasses import dataclass
from typing import Self, TypeAlias

TrustedNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class TrustedClients:
    """One line ``server none NETWORK KEYWORD``; verifiers get the keyword."""

    network: TrustedNetwork
    keyword: str

    @classmethod
    def parse(cls, pattern: str, keyword: str) -> Self:
        """Parse an address, ``192.168.0.0/24``, ``192.168.0.*`` or ``fd00::/8``.

        Raises:
            ValueError: the pattern is none of these.

        """
        return cls(_network(pattern), keyword)

    def covers(self, client: str) -> bool:
        """Tell whether the network contains an IP address; False for a unix socket's path."""
        return lies_in(client, (self.network,))


def lies_in(client: str, networks: tuple[TrustedNetwork, ...]) -> bool:
    """Tell whether an IP address lies in one of the networks; False for a unix socket's path."""
    if not networks:  # nearly always, and asked for each connection
        return False
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)


def _network(pattern: str) -> TrustedNetwork:
    if not pattern.endswith("*"):
        return ipaddress.ip_network(pattern, strict=False)
    octets = pattern.split(".")
    named = [octet for octet in octets if octet != "*"]
    if len(octets) > 4 or octets[: len(named)] != named:
        raise ValueError("a * stands for the last numbers of an IPv4 address")
    address = ".".join([*named, *["0"] * (4 - len(named))])
    return ipaddress.IPv4Network(f"{address}/{8 * len(named)}")
