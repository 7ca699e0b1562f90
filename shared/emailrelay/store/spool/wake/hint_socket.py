"""A datagram for each message or batch: who makes one ready or puts it off tells every pool that listens.

Each pool has a socket under ``.wake/``, named after its stage. A full or dead socket is no error: a
lost poke costs time, never mail. Paths go through ``/proc/self/fd`` since a socket's may not be longer
than 107 octets.
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
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.wake.hint_sender import LONGEST, LOOK, socket_path

_MOST_AT_ONCE = 256
_MOST_OCTETS = 64 * 1024
"""Octets of announcements received in one turn of the loop."""
_REST = 1.0
"""Seconds without hearing after more was announced than anybody could want to know."""

Received: TypeAlias = Callable[[QueueId, float], None]
"""Called for each message announced, with the time when it is due (0: now)."""


class HintSocket:
    """Hears what is announced for one stage (or under another name), inside a running loop."""

    def __init__(
        self,
        directory: Directory,
        stage: str,
        received: Received,
        asked: Callable[[], None] | None = None,
    ) -> None:
        """``asked`` is called when everything is to be looked at."""
        self._directory, self._received, self._asked = directory, received, asked
        self.name = f"{stage}.{os.getpid()}.{secrets.token_hex(4)}"
        self._socket: socket.socket | None = None
        self._paused: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Start listening; in vain where unix sockets cannot be made, and mail is then found by scans."""
        self.close()
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        opened.settimeout(0)
        try:
            files.remove(self._directory / self.name)
            # Its mode is set before it has a name: behind that name something else might stand by then.
            os.fchmod(opened.fileno(), files.FILE_MODE)
            opened.bind(socket_path(self._directory, self.name))
        except OSError:
            opened.close()
            return
        self._socket = opened
        asyncio.get_running_loop().add_reader(opened, self.receive)

    @property
    def is_open(self) -> bool:
        """Tell whether there is a socket, be it one that nobody finds any more."""
        return self._socket is not None

    def is_lost(self) -> bool:
        """Tell whether our socket has lost its name: somebody may have cleared the directory."""
        return self.is_open and not files.is_there(self._directory / self.name)

    def receive(self, octets: int = _MOST_OCTETS) -> None:
        """Take what has been announced, up to about so many octets."""
        # A flood of announcements must not keep the loop from everything else.
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
        """Hear nothing for a while: somebody announces more than there can be."""
        if self._socket is not None and self._paused is None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            self._paused = loop.call_later(_REST, self._resume)

    def _resume(self) -> None:
        self._paused = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self.receive)

    def _take(self, line: bytes) -> None:
        with contextlib.suppress(ValueError):  # anybody in the group may send nonsense
            message, due = line.decode().split(" ")
            when = float(due)
            if names.is_id(message) and math.isfinite(when):
                self._received(QueueId(message), when)

    def close(self) -> None:
        """Stop listening."""
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
