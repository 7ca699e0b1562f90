"""Rings at whoever listens under ``.wake/``; see ``doorbell``. No event loop: submitters ring too."""

import contextlib
import os
import socket
import time
from collections.abc import Generator

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool import files

LOOK = b"look"
"""What is sent instead of a message and its time."""
_CLOCK_GRAIN = 20_000_000
"""Nanoseconds within which two changes of a directory may carry the same time."""


class Bell:
    """Rings at the pools that listen in one spool directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._seen: tuple[int, int] | None = None
        self._sockets: list[str] = []

    def ring(self, stage: Stage, message: QueueId, due: float = 0.0) -> None:
        """Announce a message that is due at ``due`` (seconds since 1970; 0: now)."""
        with contextlib.suppress(OSError), opened(self._directory) as directory:
            for name in self._listeners():
                if name.startswith(f"{stage}."):
                    self._send(f"/proc/self/fd/{directory}/{name}", f"{message} {due}".encode())

    def ask_to_look(self) -> None:
        """Ask all feeds to scan the spool: a message may be there that nobody has announced."""
        with contextlib.suppress(OSError), opened(self._directory) as directory:
            for name in self._listeners():
                if name.partition(".")[0] in tuple(Stage):
                    self._send(f"/proc/self/fd/{directory}/{name}", LOOK)

    def ring_at(self, name: str, message: QueueId) -> None:
        """Ring at one socket by its name."""
        with contextlib.suppress(OSError), opened(self._directory) as directory:
            self._send(f"/proc/self/fd/{directory}/{name}", f"{message} 0".encode())

    def _listeners(self) -> list[str]:
        status = os.stat(self._directory)
        state = (status.st_ino, status.st_mtime_ns)
        if state != self._seen:
            self._sockets = os.listdir(self._directory)
            # One that came within the grain of the directory's time would never be seen.
            settled = time.time_ns() - status.st_mtime_ns > _CLOCK_GRAIN
            self._seen = state if settled else None
        return self._sockets

    def _send(self, path: str, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, path)
        except ConnectionRefusedError:
            files.remove(path)  # its process died; a living one has it bound
            self._seen = None
        except OSError:
            self._seen = None  # full, or just gone

    def close(self) -> None:
        """Close the sending socket."""
        self._socket.close()


@contextlib.contextmanager
def opened(directory: str) -> Generator[int]:
    """Open a directory to reach sockets through: their own paths may not be long."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
