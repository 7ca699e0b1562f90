"""The address that a connection comes from, even if the client has already reset it."""

import ipaddress
import socket
from contextlib import suppress

_SAVE_SYN, _SAVED_SYN = 27, 28
"""Options of TCP on Linux: they are in ``linux/tcp.h``, not in tcp(7)."""
_LONGEST = 256


def keep_first_packets(listening: socket.socket) -> None:
    """Make the kernel keep the first packet of each connection, which always has its address."""
    with suppress(OSError):  # no TCP, or another kernel: a reset connection then has no address
        listening.setsockopt(socket.IPPROTO_TCP, _SAVE_SYN, 1)


def reset_peer_address(connection: socket.socket) -> str:
    """Return the IP address of a TCP connection that has no peer any more; "" if it is unknown."""
    try:
        packet = connection.getsockopt(socket.IPPROTO_TCP, _SAVED_SYN, _LONGEST)
    except OSError:
        return ""
    # The version is in the first four bits, the source at octet 12 (RFC 791) or 8 (RFC 8200).
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        return str(ipaddress.IPv4Address(packet[12:16]))
    if version == 6 and len(packet) >= 40:
        return str(ipaddress.IPv6Address(packet[8:24]))
    return ""
