"""Where a filter listens: a host and port, or a unix socket."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP port; ``host`` is a name or an address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        """Give it as it is written in a spec."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """A unix socket; ``path`` is absolute."""

    path: str

    def __str__(self) -> str:
        """Give it as it is written in a spec."""
        return self.path


Place: TypeAlias = Tcp | Unix


def parse(text: str) -> Place:
    """Read ``HOST:PORT``, ``[IPV6]:PORT`` or ``/PATH``; raise ValueError saying what to write."""
    if text.startswith("/"):
        return Unix(text)
    host, _, port = text.rpartition(":")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("an IPv6 address stands in brackets, as in [::1]:783")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("needs HOST:PORT with a number, or the path of a unix socket")
    return Tcp(host, int(port))
