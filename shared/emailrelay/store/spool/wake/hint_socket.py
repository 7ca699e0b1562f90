"""A datagram for each hint or batch of hints: a message was made ready, or put off.

Each pool has a socket under ``.wake/``, named after its stage. A full or dead socket is not an
error: a lost hint costs time, never mail.
"""

import asyncio
import contextlib
import math
import os
import secrets
import socket
from collections.abc import Callable
from typing import TypeAlias

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import FILE_MODE, Directory
from emailrelay.store.spool.wake.hint_sender import LONGEST, LOOK, socket_path

_MOST_AT_ONCE = 256
_MOST_OCTETS = 64 * 1024
"""Octets of hints received in one turn of the loop."""
_REST = 1.0
"""Seconds of a pause after more hints than there can be messages."""

HintReceived: TypeAlias = Callable[[QueueId, float], None]
"""Called for each hint, with the message and its due time (0: now)."""


class HintSocket:
    """Receives the hints for one stage (or for another name), inside a running loop."""

    def __init__(
        self,
        directory: Directory,
        stage: str,
        received: HintReceived,
        asked: Callable[[], None] | None = None,
    ) -> None:
        """``asked`` is called when a scan is asked for."""
        self._directory, self._received, self._asked = directory, received, asked
        self.name = f"{stage}.{os.getpid()}.{secrets.token_hex(4)}"
        self._socket: socket.socket | None = None
        self._paused: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Start to receive. Where no socket can be made, mail is found by scans."""
        self.close()
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.settimeout(0)
        try:
            files.remove(self._directory / self.name)
            # The mode is set before it has a name: later the name could lead to another file.
            os.fchmod(opened.fileno(), self._mode())
            opened.bind(socket_path(self._directory, self.name))
        except OSError:
            opened.close()
            return
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self.receive)

    def _mode(self) -> int:
        """Return the mode of the socket."""
        return FILE_MODE

    @property
    def is_open(self) -> bool:
        """Tell if there is a socket, also one without a name."""
        return self._socket is not None

    def is_lost(self) -> bool:
        """Tell if the socket has lost its name: an administrator may have cleared the directory."""
        return self.is_open and not files.is_there(self._directory / self.name)

    def receive(self, octets: int = _MOST_OCTETS) -> None:
        """Receive the waiting hints, up to about so many octets."""
        # Other tasks must get their turn during a flood of hints.
        for _ in range(_MOST_AT_ONCE):
            if octets <= 0 or self._paused is not None:
                return
            try:
                datagram = self._socket.recv(LONGEST) if self._socket else b""
            except OSError:
                return
            octets -= len(datagram)
            if datagram == LOOK:
                if self._asked is not None:
                    self._asked()
                continue
            for line in datagram.splitlines():
                self._take(line)

    def pause(self) -> None:
        """Receive nothing for a while: there are more hints than there can be messages."""
        if self._socket is not None and self._paused is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._paused = loop.call_later(_REST, self._resume)

    def _resume(self) -> None:
        self._paused = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self.receive)

    def _take(self, line: bytes) -> None:
        try:
            message, due = line.decode().split(" ")
            when = float(due)
        except ValueError:
            return  # any member of the group may send nonsense
        if names.is_id(message) and math.isfinite(when):
            self._received(QueueId(message), when)

    def close(self) -> None:
        """Stop receiving, and remove the socket."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        self._socket.close()
        self._socket = None
        with contextlib.suppress(OSError):
            files.remove(self._directory / self.name)
