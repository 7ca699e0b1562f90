"""Writes the record of each message that leaves the spool, without a sync.

The records of one turn of the event loop go with one write(2).

Once a second it looks at the bounds, and whether its file still is that of the day. Whatever goes
wrong here costs a record, and never stops mail.
"""

import errno
import os
import time
from _thread import allocate_lock
from collections.abc import Callable

from emailrelay import history_record
from emailrelay.history_record import PastMessage
from emailrelay.store.mail_history import NO_HISTORY, HistoryBounds
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.history import day_files
from emailrelay.turn_end import at_turn_end

_LOOK = 1.0
"""Seconds between two looks at bounds and name."""
_TELL_AGAIN = 60.0
"""Seconds between two reports of trouble."""
_TOGETHER = 64 * 1024
"""Octets of records that wait for the end of a turn at most."""
_ROOM, _ROOM_PART = 256 * 1024 * 1024, 4
"""With less free room than this, and than this part of the disk, all room is for mail."""


class HistoryWriter:
    """The history of one opened spool. Threads may share it."""

    def __init__(
        self,
        root: Directory,
        *,
        clock: Callable[[], float],
        trouble: Callable[[str, object], None],
    ) -> None:
        """Use ``.history`` in ``root``; ``trouble`` is called with what fails, and why."""
        self.directory = root.below(names.HISTORY, makes=False)
        self._at = root / names.HISTORY
        self._made = root.below(names.HISTORY)
        self._clock, self._trouble = clock, trouble
        self._given: HistoryBounds | None = None
        self._descriptor, self._day = -1, ""
        self._next_look = self._tell_next = 0.0
        self._gathered: list[bytes] = []
        self._size = 0
        self._guard = allocate_lock()

    @property
    def on(self) -> bool:
        """True if a record would be written now; else none need be made."""
        with self._guard:
            return self._is_open()

    def add(self, message: PastMessage) -> None:
        """Write the record of a message that has left, if ``on`` was true just now.

        It is written when this turn of the loop has ended at the latest.
        """
        try:
            line = history_record.write(message)
        except ValueError as error:
            self._tell(error)
            return
        with self._guard:
            self._gathered.append(line)
            self._size += len(line)
            if self._size > _TOGETHER:
                self._write()
                return
            first = len(self._gathered) == 1
        if first:
            at_turn_end(self.write_gathered)

    def write_gathered(self) -> None:
        """Write the records that wait."""
        with self._guard:  # closed by another thread, the descriptor could be another file's
            self._write()

    def _write(self) -> None:
        octets, self._gathered, self._size = b"".join(self._gathered), [], 0
        if not octets or self._descriptor < 0:
            return
        try:
            if os.write(self._descriptor, octets) < len(octets):
                self._tell(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        except OSError as error:
            self._tell(error)

    def _is_open(self) -> bool:
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK
            try:
                self._look()
            except OSError as error:
                self._close()
                self._tell(error)
        return self._descriptor >= 0

    def _look(self) -> None:
        self._write()
        bounds = self._bounds()
        day = day_files.day_of(self._clock())
        name = day_files.current(day)
        if self._descriptor >= 0 and (
            bounds.off
            or not locks.is_named(self._descriptor, self.directory / name)
            or day_files.close_large(self._descriptor, self.directory, name, bounds)
        ):
            self._close()
        if bounds.off:
            return
        if self._descriptor < 0:
            self._descriptor = files.open_to_append(self.directory / name)
            day_files.trim(self.directory, bounds, self._clock())
        if not _has_room(self._descriptor):
            raise OSError(errno.ENOSPC, "little room is left on the disk, which is kept for mail")

    def _bounds(self) -> HistoryBounds:
        found = day_files.read_bounds(self.directory)
        if found is None and self._given is not None:
            self._write_bounds(self._given)
            return self._given
        return found or NO_HISTORY

    def keep(self, bounds: HistoryBounds) -> None:
        """See ``MailHistory.keep``.

        Raises:
            OSError: it cannot be done now.

        """
        with self._guard:
            self._given = bounds
            self._next_look = 0.0
            if bounds.off and not files.is_directory(self._at):
                return
            self._write_bounds(bounds)
            day_files.trim(self.directory, bounds, self._clock())

    def _write_bounds(self, bounds: HistoryBounds) -> None:
        self._made.renew()
        self.directory.renew()
        day_files.write_bounds(self.directory, bounds)

    def sweep(self) -> None:
        """Remove what is beyond the bounds when a day has begun, also if no mail comes."""
        day = day_files.day_of(self._clock())
        if day == self._day:
            return
        self._day = day
        bounds = day_files.read_bounds(self.directory) if files.is_directory(self._at) else None
        if bounds is not None:
            day_files.trim(self.directory, bounds, self._clock())

    def _tell(self, error: Exception) -> None:
        now = time.monotonic()
        if now >= self._tell_next:
            self._tell_next = now + _TELL_AGAIN
            self._trouble("write the history (mail goes on without it)", error)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def close(self) -> None:
        """Close the file and the directories."""
        with self._guard:
            self._write()
            self._close()
            self._next_look = float("inf")
        self._made.close()
        self.directory.close()


def _has_room(descriptor: int) -> bool:
    status = os.fstatvfs(descriptor)
    least = min(_ROOM, status.f_blocks * status.f_frsize // _ROOM_PART)
    return status.f_bavail * status.f_frsize >= least
