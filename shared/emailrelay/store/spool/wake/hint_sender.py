"""Rings at whoever listens under ``.wake/``; see ``doorbell``. No event loop: submitters ring too."""

import contextlib
import os
import socket
import time
from _thread import allocate_lock  # threading itself would cost submitters more than their message
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from emailrelay import linux
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Directory

LOOK = b"look"
"""What is sent instead of messages and their times."""
LONGEST = 8192
"""Octets of one datagram."""
_MOST_MISSED = 64
"""Datagrams kept for a socket that is full; beyond these its owner is asked to look for itself."""
_MOST_LISTENERS, _MOST_NAMES = 64, 1000
"""Sockets that are rung at, and names looked at to find them. Who is not rung at finds mail by scans."""
_CLOCK_GRAIN = 20_000_000
"""Nanoseconds within which two changes of a directory may carry the same time."""


class Due(NamedTuple):
    """A message, and when it is due (seconds since 1970; 0: now)."""

    message: QueueId
    at: float


class HintSender:
    """Rings at the pools that listen in one spool directory. Any thread may ring."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._seen: tuple[int, int, int] | None = None
        self._sockets: list[str] = []
        self._missed: dict[str, deque[bytes]] = {}
        """What sockets were too full to take."""
        self._one = allocate_lock()

    @property
    def missed(self) -> bool:
        """Whether somebody is still to be told of something; see ``send_missed``."""
        return bool(self._missed)

    def send(self, stage: Stage, *messages: QueueId, due: float = 0.0) -> None:
        """Announce messages that are due at ``due``."""
        self.announce(stage, [Due(message, due) for message in messages])

    def announce(self, stage: Stage, messages: Sequence[Due]) -> None:
        """Announce messages, many together: a socket holds few datagrams (net.unix.max_dgram_qlen)."""
        datagrams = list(_datagrams(messages))
        with self._one, contextlib.suppress(OSError):
            for name in self._listeners():
                if name.startswith(f"{stage}."):
                    self._tell(name, datagrams)

    def ask_for_scans(self) -> None:
        """Ask all feeds to scan the spool: a message may be there that nobody has announced."""
        with self._one, contextlib.suppress(OSError):
            for name in self._listeners():
                if name.partition(".")[0] in tuple(Stage):
                    self._tell(name, (LOOK,))

    def send_to(self, name: str, message: QueueId) -> None:
        """Ring at one socket by its name."""
        with self._one, contextlib.suppress(OSError):
            self._listeners()
            self._tell(name, list(_datagrams((Due(message, 0.0),))))

    def send_missed(self) -> None:
        """Tell those who were too busy."""
        with self._one, contextlib.suppress(OSError):
            self._listeners()
            for name in list(self._missed):
                self._tell(name, ())

    def _listeners(self) -> list[str]:
        status = os.fstat(self._directory.fileno())
        state = (status.st_dev, status.st_ino, status.st_mtime_ns)
        if state != self._seen:
            self._sockets = self._first_listeners()
            for gone in self._missed.keys() - set(self._sockets):
                del self._missed[gone]
            # One that came within the grain of the directory's time would never be seen.
            settled = time.time_ns() - status.st_mtime_ns > _CLOCK_GRAIN
            self._seen = state if settled else None
        return self._sockets

    def _first_listeners(self) -> list[str]:
        """Give the sockets to ring at, our own user's first; a flood of others' is passed over."""
        with files.scanned(self._directory) as entries:
            found = list(islice(entries, _MOST_NAMES))
            if len(found) > _MOST_LISTENERS:
                found.sort(key=_is_anothers)
        return [entry.name for entry in found[:_MOST_LISTENERS]]

    def _tell(self, name: str, datagrams: Iterable[bytes]) -> None:
        """Send it behind what was missed before; keep what there is no room for now."""
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
        """Send if the socket is there; False: it is, and is full."""
        try:
            self._socket.sendto(datagram, socket_path(self._directory, name))
        except BlockingIOError:
            return False
        except ConnectionRefusedError:
            with contextlib.suppress(OSError):  # it is another user's, say
                files.remove(self._directory / name)  # its process died; a living one has it bound
            self._seen = None
        except OSError:
            self._seen = None  # just gone
        return True

    def close(self) -> None:
        """Close what is open."""
        with self._one:
            self._seen = None
        self._socket.close()


def _is_anothers(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.stat(follow_symlinks=False).st_uid != os.geteuid()
    except OSError:  # just gone
        return True


def socket_path(directory: Directory, name: str) -> str:
    """Give a short path to a socket: its own may have more than the 107 octets that there is room for."""
    at = directory / name
    return linux.short_path(directory.fileno(), directory.path, at.name)


def _datagrams(messages: Iterable[Due]) -> Iterator[bytes]:
    """Write a line a message, as many in each datagram as it may hold."""
    datagram = b""
    for message, at in messages:
        line = f"{message} {at}\n".encode()
        if len(datagram) + len(line) > LONGEST:
            yield datagram
            datagram = b""
        datagram += line
    yield datagram
