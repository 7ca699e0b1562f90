"""Sends hints to the sockets under ``.wake/``; see ``hint_socket``.

It needs no event loop, since submitting programs send hints, too.
"""

import contextlib
import os
import socket
import time
from _thread import allocate_lock  # importing threading takes longer than submitting a message
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from emailrelay import linux
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import CLOCK_GRAIN, Directory
from emailrelay.store.spool.wake.first_sockets import first_sockets

LOOK = b"look"
"""A datagram that asks for a scan."""
LONGEST = 8192
"""Octets of one datagram."""
_MOST_MISSED = 64
"""Datagrams kept for a full socket; beyond these its owner is asked for a scan."""
_LAST = 0.5
"""Seconds for which ``close`` waits for a full socket: no other process has a client's answer."""
_MOST_NAMES = 1000
"""Names read to find sockets that get hints. Owners of others find mail by scans."""


class Due(NamedTuple):
    """A message and its due time (seconds since 1970; 0: now)."""

    message: QueueId
    at: float


class HintSender:
    """Sends hints to the pools that listen in one spool directory. Any thread may use it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._seen: tuple[int, int, int] | None = None
        self._sockets: list[str] = []
        self._missed: dict[str, deque[bytes]] = {}
        """The datagrams for sockets that are full."""
        self._one = allocate_lock()

    @property
    def missed(self) -> bool:
        """True: hints for full sockets are kept; see ``send_missed``."""
        return bool(self._missed)

    def send(self, stage: Stage, *messages: QueueId, due: float = 0.0) -> None:
        """Announce messages that are due at ``due``."""
        self.announce(stage, [Due(message, due) for message in messages])

    def announce(self, stage: Stage, messages: Sequence[Due]) -> None:
        """Announce messages together: a socket holds few datagrams (net.unix.max_dgram_qlen)."""
        datagrams = list(_datagrams(messages))
        with self._one, contextlib.suppress(OSError):
            for name in self._listeners():
                if name.startswith(f"{stage}."):
                    self._tell(name, datagrams)

    def ask_for_scans(self) -> None:
        """Ask all feeds for a scan: a message without a hint may be there."""
        with self._one, contextlib.suppress(OSError):
            for name in self._listeners():
                if name.partition(".")[0] in tuple(Stage):
                    self._tell(name, (LOOK,))

    def tell(self, name: str, datagram: bytes) -> bool:
        """Send a datagram to one socket by its name; False if there is no such socket.

        One for a full socket is sent later.
        """
        with self._one:
            if name in self._missed:
                if len(self._missed[name]) >= _MOST_MISSED:
                    return False
                self._tell(name, (datagram,))
                return True
            try:
                self._socket.sendto(datagram, socket_path(self._directory, name))
            except BlockingIOError:
                self._missed[name] = deque((datagram,))
            except OSError:
                return False
            return True

    def keeps(self, name: str) -> bool:
        """Tell if the socket of this name was too full for a datagram, which is still here."""
        return name in self._missed

    def send_missed(self) -> None:
        """Send the hints that sockets were too full for."""
        with self._one, contextlib.suppress(OSError):
            self._listeners()
            for name in list(self._missed):
                self._tell(name, ())

    def _listeners(self) -> list[str]:
        status = os.fstat(self._directory.fileno())
        state = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if state != self._seen:
            self._sockets = first_sockets(self._directory, _MOST_NAMES)
            for gone in self._missed.keys() - set(self._sockets):
                if gone.partition(".")[0] in tuple(Stage):  # an answer goes to any socket
                    del self._missed[gone]
            # A socket made within the grain of the directory's time would never be found.
            settled = time.time_ns() - status.st_mtime_ns > CLOCK_GRAIN
            self._seen = state if settled else None
        return self._sockets

    def _tell(self, name: str, datagrams: Iterable[bytes]) -> None:
        """Send datagrams after those missed before; keep those that find no room."""
        row = self._missed.pop(name, deque[bytes]())
        for datagram in datagrams:
            if row and len(row[-1]) + len(datagram) <= LONGEST and LOOK not in (row[-1], datagram):
                row[-1] += datagram
            else:
                row.append(datagram)
        while row and self._send(name, row[0]):
            row.popleft()
        if row:
            self._missed[name] = deque((LOOK,)) if len(row) > _MOST_MISSED else row

    def _send(self, name: str, datagram: bytes) -> bool:
        """Send a datagram; False if the socket is full. A missing socket is not an error."""
        try:
            self._socket.sendto(datagram, socket_path(self._directory, name))
        except BlockingIOError:
            return False
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):  # another user's, for example
                files.remove(self._directory / name)  # its process has died: it is not bound
            self._seen = None
        except OSError:
            self._seen = None  # removed since
        return True

    def close(self) -> None:
        """Close the socket."""
        with self._one:
            self._seen = None
            self._socket.settimeout(_LAST)
            for name, row in self._missed.items():
                with contextlib.suppress(OSError):
                    for datagram in row:
                        self._socket.sendto(datagram, socket_path(self._directory, name))
        self._socket.close()


def socket_path(directory: Directory, name: str) -> str:
    """Return a short path to a socket: its own may be longer than 107 octets (unix(7))."""
    at = directory / name
    return linux.short_path(directory.fileno(), directory.path, at.name)


def _datagrams(messages: Iterable[Due]) -> Iterator[bytes]:
    """Yield datagrams with a line for each message, as many as fit."""
    datagram = b""
    for message, at in messages:
        line = f"{message} {at}\n".encode()
        if len(datagram) + len(line) > LONGEST:
            yield datagram
            datagram = b""
        datagram += line
    yield datagram
