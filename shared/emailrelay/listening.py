"""The sockets that clients connect to, bound before any other process exists."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emailrelay.errors import RelayError

BACKLOG = 1024
"""The most connections that wait to be accepted."""

_ABSENT = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


class CannotListen(RelayError):
    """The service cannot listen on an address; the text names it and the reason."""

    temporary = False


class Listeners:
    """Listening sockets. Each stays open until ``close``; workers accept from the same ones."""

    def __init__(self) -> None:
        self.sockets: list[socket.socket] = []
        self.paths: list[str] = []
        """The paths of unix sockets to remove."""

    def open(self, interfaces: Sequence[str], port: int) -> None:
        """Bind and listen on all ``interfaces``; see ``ReceiverSettings.interface``.

        Raises:
            CannotListen: with every address that failed.

        """
        problems, causes = list[str](), list[OSError | ValueError]()
        for interface in interfaces or ("",):
            try:
                self.sockets.extend(map(_prepared, _open(interface, port)))
                if interface.startswith("/"):
                    self.paths.append(interface)
            except (OSError, ValueError) as error:
                place = interface or "all addresses"
                problems.append(f"cannot listen on {place}{_port(interface, port)}: {_why(error)}")
                causes.append(error)
        if problems:
            self.close()
            raise CannotListen("\n".join(problems)) from causes[0]

    def take(self, other: "Listeners") -> None:
        """Take over the sockets of another one, which is empty afterwards."""
        self.sockets += other.sockets
        self.paths += other.paths
        other.sockets, other.paths = [], []

    def close(self) -> None:
        """Close the sockets, and remove the paths of unix sockets made here."""
        for opened in self.sockets:
            opened.close()
        for path in self.paths:
            with contextlib.suppress(OSError):
                Path(path).unlink()
        self.sockets.clear()
        self.paths.clear()


@dataclass(frozen=True, slots=True)
class BindTrial:
    """An address that cannot be bound; its text names the reason and the remedy."""

    host: str
    """An address without brackets; empty: all addresses."""
    port: int
    error: OSError

    def __str__(self) -> str:
        place = self.host or "all addresses"
        return f"cannot listen on {place} port {self.port}: {_why(self.error)}"


def try_binding(interfaces: Sequence[str], port: int) -> list[BindTrial]:
    """Return the TCP addresses that ``Listeners.open`` could not bind now.

    It does not listen, so no client notices. Unix sockets and inherited ones are left out.
    """
    found = list[BindTrial]()
    for interface in interfaces or ("",):
        if interface.startswith(("/", "fd#")):
            continue
        host = interface.strip("[]")
        try:
            for opened in _open(interface, port, listens=False):
                opened.close()
        except OSError as error:
            found.append(BindTrial(host, port, error))
    return found


def socket_path(opened: socket.socket) -> str:
    """Return the path of a unix socket, "" for others and for those without a path."""
    name = opened.getsockname()
    return name if opened.family is socket.AF_UNIX and isinstance(name, str) else ""


def written(opened: socket.socket) -> str:
    """Write the address of a listening socket, with the port that the system chose."""
    if opened.family is socket.AF_UNIX:
        return socket_path(opened) or f"fd#{opened.fileno()}"
    host, port = opened.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open(interface: str, port: int, *, listens: bool = True) -> Iterator[socket.socket]:
    if interface.startswith("fd#"):
        yield _inherited(interface)
    elif interface.startswith("/"):
        yield _unix(interface)
    elif interface:
        for family, address in _addresses(interface, port):
            yield _tcp(family, address, listens=listens)
    else:
        yield from _everywhere(port, listens=listens)


def _prepared(opened: socket.socket) -> socket.socket:
    """Let no accept wait, and make the connections send each reply at once.

    Python gives each copy of a socket the mode of this object, and all copies in all processes
    share one mode. A worker that starts would let the accepts of the others wait for a moment. One
    that finds no client then would hang, with all its sessions, until the next client connects.

    Connections inherit the second option. asyncio, unlike uvloop, sets it only if the socket was
    made with the number of its protocol. Without it, replies to pipelined commands would wait 40 ms
    for each other's acknowledgement.
    """
    opened.settimeout(0)
    if opened.family is not socket.AF_UNIX:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _everywhere(port: int, *, listens: bool) -> Iterator[socket.socket]:
    """Listen on all IPv4 and IPv6 addresses of the machine."""
    first = _tcp(socket.AF_INET, ("0.0.0.0", port), listens=listens)  # noqa: S104 - asked for; only local clients are served
    chosen = first.getsockname()[1]
    yield first
    try:
        # The same port, if the system chose it.
        yield _tcp(socket.AF_INET6, ("::", chosen), listens=listens)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise


def _addresses(interface: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    found = socket.getaddrinfo(
        interface.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return [(family, address) for family, _, _, _, address in found]


def _tcp(
    family: socket.AddressFamily, address: tuple[object, ...], *, listens: bool
) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
        if listens:
            opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _unix(path: str) -> socket.socket:
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        opened.bind(path)
        opened.listen(BACKLOG)
    except OSError:
        opened.close()
        raise
    return opened


def _remove_stale(path: str) -> None:
    """Remove a socket without a listener, left behind by a killed process."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()


def _inherited(interface: str) -> socket.socket:
    opened = socket.socket(fileno=int(interface.removeprefix("fd#")))
    if not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        opened.listen(BACKLOG)
    return opened


def _port(interface: str, port: int) -> str:
    return "" if interface.startswith(("/", "fd#")) else f" port {port}"


def _why(error: OSError | ValueError) -> str:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{reason}; stop the program that uses it, or choose another port"
    if isinstance(error, OSError) and error.errno == errno.EACCES:
        return f"{reason}; ports below 1024 need privileges, or choose another port"
    return reason
