"""The sources by which clients are counted: all addresses that one party can use are one source."""

import ipaddress
from functools import lru_cache

_LOOPBACK = "loopback"
_OWN = 64
"""Bits of an IPv6 address that name its network; its owner sets the others (RFC 4291, 2.5.4)."""


@lru_cache(maxsize=1024)
def source_of(client: str) -> str:
    """Return the source of a client: its IPv4 address, or its IPv6 network of 64 bits.

    All loopback addresses are one source, as any program of this machine can use each of them. The
    path of a unix socket is a source of its own: its permissions limit the users that can connect.
    """
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            if address.is_loopback:
                return _LOOPBACK
            return str(ipaddress.ip_network((int(address), _OWN), strict=False))
        address = address.ipv4_mapped
    return _LOOPBACK if address.is_loopback else str(address)


def is_local(client: str) -> bool:
    """Return whether the IP address of a client is one of this machine's loopback addresses."""
    return source_of(client) == _LOOPBACK
