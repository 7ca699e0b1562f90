"""Messages that were at their final dot, or delivered and not yet removed, when a forwarder died.

Each process has a file under ``.doubt/``, locked while it lives, with a slot for each delivery from
its dot to its removal. Writing needs no sync: the page cache survives the process, which is the
case that matters here. A file with a free lock belongs to a dead process and names its unfinished
deliveries.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import file_octets, files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.turn_end import at_turn_end

_SLOT = 512
_MOST_SLOTS, _MOST_FILES, _MOST_NAMES = 2048, 128, 4096
"""What is read to find one message: slots of a file, files of processes, names in the directory."""
_NAME = re.compile(r"[0-9]+\.[0-9a-f]{8}")
_DELIVERED = b"+"
"""Replaces the blank before the id of a message that the server has accepted."""


def _record(text: str) -> bytes:
    return text.encode(errors="replace")[: _SLOT - 1].ljust(_SLOT - 1) + b"\n"


_NOTHING = _record("")


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
    trouble: Callable[[str, object], None]
    """Called with what fails, and why."""
    _descriptor: int | None = None
    _path: Location | None = None
    _free: list[int] = field(default_factory=list[int])
    _records: list[bytes] = field(default_factory=list[bytes])
    """The octets of each slot."""
    _cleared: set[int] = field(default_factory=set[int])
    """The slots that are to be cleared at the end of this turn of the loop."""

    def mark(self, message: QueueId, peer: str) -> int:
        """Note that the final dot is sent next; return the slot to clear afterwards."""
        while self._descriptor is None:
            self._path = self.directory / f"{os.getpid()}.{secrets.token_hex(4)}"
            self._descriptor = locks.create_locked(self._path)
        if not self._free:
            self._free.append(len(self._records))
            self._records.append(_NOTHING)
        slot = self._free.pop()
        record = _record(f" {message} {peer}")
        try:
            os.pwrite(self._descriptor, record, slot * _SLOT)
        except OSError:
            self._free.append(slot)
            raise
        self._cleared.discard(slot)
        self._records[slot] = record
        return slot

    def delivered(self, slot: int) -> None:
        """Note that the server has accepted the message of this slot: now it is removed."""
        if self._descriptor is not None:
            self._records[slot] = _DELIVERED + self._records[slot][len(_DELIVERED) :]
            try:
                os.pwrite(self._descriptor, _DELIVERED, slot * _SLOT)
            except OSError:  # it only helps the recovery after a kill
                return

    def clear(self, slot: int) -> None:
        """Note that the message of this slot is settled; at the end of this turn of the loop."""
        self._records[slot] = _NOTHING
        self._free.append(slot)
        self._cleared.add(slot)
        if len(self._cleared) == 1:
            at_turn_end(self._clear)

    def _clear(self) -> None:
        """Clear slots by one write; those between them get the octets that they have."""
        cleared, self._cleared = self._cleared, set()
        if self._descriptor is None or not cleared:
            return
        first, end = min(cleared), max(cleared) + 1
        try:
            os.pwrite(self._descriptor, b"".join(self._records[first:end]), first * _SLOT)
        except OSError as error:  # at worst a message is named that was sent once
            self.trouble("note that messages are in doubt no more", error)

    def close(self) -> None:
        """Remove the file, unless it names unfinished deliveries for the next opener."""
        if self._descriptor is not None and self._path is not None:
            if all(record == _NOTHING for record in self._records):
                files.remove(self._path)
            else:
                self._clear()
            locks.unlock_and_close(self._descriptor)
            self._descriptor = None


def peer_of(directory: Directory, message: QueueId) -> str:
    """Return the server that may have got the final dot of a message; "" if there is none."""
    begin = f"{message} ".encode()
    for octets in _read(directory):
        at = octets.find(begin)
        while at >= 0:
            if at % _SLOT == 1:
                record = octets[at : at - 1 + _SLOT].decode(errors="replace")
                return record.partition(" ")[2].strip()
            at = octets.find(begin, at + 1)
    return ""


def _read(directory: Directory) -> Iterator[bytes]:
    """Yield the octets of the files of processes; a member of the group may add any others."""
    with files.scanned(directory) as entries:
        names = (entry.name for entry in islice(entries, _MOST_NAMES))
        for name in islice(filter(_NAME.fullmatch, names), _MOST_FILES):
            with contextlib.suppress(OSError):
                yield regular_files.read_beginning(directory / name, _MOST_SLOTS * _SLOT) or b""


def left_behind(directory: Directory) -> Iterator[Left]:
    """Yield the unfinished deliveries of dead processes, and remove their files."""
    for name in files.listed(directory):
        path = directory / name
        with locks.held(path) as descriptor:
            if descriptor is None:
                continue
            for record in file_octets.read_all(descriptor).split(b"\n"):
                delivered = record.startswith(_DELIVERED)
                text = record.removeprefix(_DELIVERED).decode(errors="replace").strip()
                message, _, peer = text.partition(" ")
                if names.is_id(
                    message
                ):  # a power cut, or a member of the group, may leave any octets
                    yield Left(QueueId(message), peer, delivered)
            files.remove(path)
