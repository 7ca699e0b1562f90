"""Messages that were at their final dot, or delivered and not yet removed, when a forwarder died.

Each process has a file under ``.doubt/``, locked while it lives, with a slot for each delivery from
its dot to its removal. Writing needs no sync: the page cache survives the process, which is the
case that matters here. A file with a free lock belongs to a dead process and names its unfinished
deliveries.
"""

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.directory import Directory, Location

_SLOT = 512
_DELIVERED = b"+"
"""Replaces the blank before the id of a message that the server has accepted."""


class Left(NamedTuple):
    """An unfinished delivery of a dead process: a message and its server."""

    message: QueueId
    peer: str
    delivered: bool
    """The server had accepted it for all recipients: only the removal was missing."""


@dataclass(slots=True)
class FinalDots:
    """The file of this process, made when it is first needed."""

    directory: Directory
    _descriptor: int | None = None
    _path: Location | None = None
    _free: list[int] = field(default_factory=list[int])
    _slots: int = 0

    def mark(self, message: QueueId, peer: str) -> int:
        """Note that the final dot is sent next; return the slot to clear afterwards."""
        while self._descriptor is None:
            self._path = self.directory / f"{os.getpid()}.{secrets.token_hex(4)}"
            self._descriptor = locks.create_locked(self._path)
        if not self._free:
            self._free.append(self._slots)
            self._slots += 1
        slot = self._free.pop()
        os.pwrite(self._descriptor, _record(f" {message} {peer}"), slot * _SLOT)
        return slot

    def delivered(self, slot: int) -> None:
        """Note that the server has accepted the message of this slot: now it is removed."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, _DELIVERED, slot * _SLOT)

    def clear(self, slot: int) -> None:
        """Note that the message of this slot is settled."""
        if self._descriptor is not None:
            os.pwrite(self._descriptor, _NOTHING, slot * _SLOT)
            self._free.append(slot)

    def close(self) -> None:
        """Remove the file: no delivery is unfinished."""
        if self._descriptor is not None and self._path is not None:
            files.remove(self._path)
            locks.unlock_and_close(self._descriptor)
            self._descriptor = None


def _record(text: str) -> bytes:
    return text.encode(errors="replace")[: _SLOT - 1].ljust(_SLOT - 1) + b"\n"


_NOTHING = _record("")


def left_behind(directory: Directory) -> Iterator[Left]:
    """Yield the unfinished deliveries of dead processes, and remove their files."""
    for name in files.listed(directory):
        path = directory / name
        descriptor = locks.lock_named(path)
        if descriptor is None:
            continue
        try:
            for record in files.read_all(descriptor).split(b"\n"):
                delivered = record.startswith(_DELIVERED)
                text = record.removeprefix(_DELIVERED).decode(errors="replace").strip()
                message, _, peer = text.partition(" ")
                if names.is_id(
                    message
                ):  # a power cut, or a member of the group, may leave any octets
                    yield Left(QueueId(message), peer, delivered)
            files.remove(path)
        finally:
            locks.unlock_and_close(descriptor)
