"""Addresses of servers as people write them: ``HOST:PORT``, ``[IPV6]:PORT`` or ``/PATH``."""

import re
from dataclasses import dataclass
from typing import TypeAlias

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]*")
"""The name of a service, as in ``/etc/services`` (RFC 6335 section 5.1 and older names)."""
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP port. ``host`` is a name, or an address without brackets."""

    host: str
    port: str
    """A number from 1 to 65535, or the name of a service."""

    def __str__(self) -> str:
        """Write the address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixPath:
    """A unix socket; ``path`` is absolute."""

    path: str

    def __str__(self) -> str:
        """Write the address."""
        return self.path


ServerAddress: TypeAlias = HostPort | UnixPath


def parse(text: str) -> ServerAddress:
    """Read the address of a server.

    Raises:
        ValueError: the text is not an address; the message says what to write.

    """
    if text.startswith("/"):
        return UnixPath(text)
    host, _, port = text.rpartition(":")
    if not host or not port:
        raise ValueError("needs host and port, as in mail.isp.net:25, or the path of a unix socket")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("an IPv6 address stands in brackets, as in [::1]:25")
    if _UNFIT.search(text):
        raise ValueError("must not contain blanks or control characters")
    # The C library reads a port of 65561 as 25.
    if port.isdigit() and not (port.isascii() and 0 < int(port[:6]) < 65536):
        raise ValueError("the port must be a number from 1 to 65535")
    if not _SERVICE.fullmatch(port):
        raise ValueError(f"{port!r} is neither the number of a port nor the name of a service")
    return HostPort(host.removeprefix("[").removesuffix("]"), port)
