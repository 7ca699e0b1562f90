"""Rings at whoever listens under ``.wake/``; see ``doorbell``. No event loop: submitters ring too."""

import contextlib
import os
import socket
import time
from collections.abc import Generator, Iterable, Iterator

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool import files

LOOK = b"look"
"""What is sent instead of messages and their times."""
LONGEST = 8192
"""Octets of one datagram."""
_CLOCK_GRAIN = 20_000_000
"""Nanoseconds within which two changes of a directory may carry the same time."""


class Bell:
    """Rings at the pools that listen in one spool directory. Any thread may ring."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._seen: tuple[int, int] | None = None
        self._sockets: list[str] = []
        self._missed: dict[str, bytes] = {}
        """What sockets were too full to take; it goes along with what is next for them."""

    def ring(self, stage: Stage, *messages: QueueId, due: float = 0.0) -> None:
        """Announce messages that are due at ``due`` (seconds since 1970; 0: now).

        Those of a batch go together: a socket holds few datagrams (net.unix.max_dgram_qlen).
        """
        with contextlib.suppress(OSError), opened(self._directory) as directory:
            for name in self._listeners():
                if name.startswith(f"{stage}."):
                    for datagram in _datagrams(messages, due):
                        self._announce(directory, name, datagram)

    def ask_to_look(self) -> None:
        """Ask all feeds to scan the spool: a message may be there that nobody has announced."""
        with contextlib.suppress(OSError), opened(self._directory) as directory:
            for name in self._listeners():
                if name.partition(".")[0] in tuple(Stage):
                    self._send(directory, name, LOOK)

    def ring_at(self, name: str, message: QueueId) -> None:
        """Ring at one socket by its name."""
        with contextlib.suppress(OSError), opened(self._directory) as directory:
            self._announce(directory, name, *_datagrams((message,), 0.0))

    def _listeners(self) -> list[str]:
        status = os.stat(self._directory)
        state = (status.st_ino, status.st_mtime_ns)
        if state != self._seen:
            self._sockets = os.listdir(self._directory)
            for gone in self._missed.keys() - set(self._sockets):
                del self._missed[gone]
            # One that came within the grain of the directory's time would never be seen.
            settled = time.time_ns() - status.st_mtime_ns > _CLOCK_GRAIN
            self._seen = state if settled else None
        return self._sockets

    def _announce(self, directory: int, name: str, datagram: bytes) -> None:
        """Send it with what was missed before; whatever is missed for good is found by a scan."""
        missed = self._missed.pop(name, b"")
        if len(missed) + len(datagram) <= LONGEST:
            datagram = missed + datagram
        if not self._send(directory, name, datagram):
            self._missed[name] = datagram

    def _send(self, directory: int, name: str, datagram: bytes) -> bool:
        """Send if the socket is there; False: it is, and is full."""
        path = f"/proc/self/fd/{directory}/{name}"
        try:
            self._socket.sendto(datagram, path)
        except BlockingIOError:
            return False
        except ConnectionRefusedError:
            files.remove(path)  # its process died; a living one has it bound
            self._seen = None
        except OSError:
            self._seen = None  # just gone
        return True

    def close(self) -> None:
        """Close the sending socket."""
        self._socket.close()


def _datagrams(messages: Iterable[QueueId], due: float) -> Iterator[bytes]:
    """Write a line a message, as many in each datagram as it may hold."""
    datagram = b""
    for message in messages:
        line = f"{message} {due}\n".encode()
        if len(datagram) + len(line) > LONGEST:
            yield datagram
            datagram = b""
        datagram += line
    yield datagram


@contextlib.contextmanager
def opened(directory: str) -> Generator[int]:
    """Open a directory to reach sockets through: their own paths may not be long."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
