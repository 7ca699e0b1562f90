"""Processes that write drafts: each has a locked file under ``.doubt/``, which shows that it lives.

So the drafts of a service need no lock of their own, which would cost six system calls a message:
``docs/decisions/lock-of-a-writer.md``. The second group of a draft's id names its process.
"""

import os
import time

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.disk import files, locks, regular_files
from emailrelay.store.spool.disk.directory import Directory

_LOOK = 1.0
"""Seconds between two looks whether the file still has its name."""


_MOST_KNOWN = 64
"""Files of other processes that stay open."""


class LiveWriter:
    """The file of this process, made before its first draft."""

    def __init__(self, directory: Directory, process: int) -> None:
        self._at = directory / _name(str(process))
        self._descriptor: int | None = None
        self._next_look = 0.0

    def is_shown(self) -> bool:
        """Return whether other processes see that this one lives; else each draft needs a lock."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK
            try:
                self._look()
            except OSError:  # drafts with locks need nothing else
                self.close()
        return self._descriptor is not None

    def _look(self) -> None:
        if self._descriptor is not None and not locks.is_named(self._descriptor, self._at):
            locks.unlock_and_close(self._descriptor)
            self._descriptor = None
        if self._descriptor is None:
            self._descriptor = locks.create_locked(self._at)

    def close(self) -> None:
        """Remove the file: no draft is being written."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            try:
                if locks.is_named(descriptor, self._at):
                    files.remove(self._at)
            except OSError:  # a sweep removes it
                pass
            finally:
                locks.unlock_and_close(descriptor)


class LiveWriters:
    """The processes found alive, or dead, during one sweep; each is looked for once."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._known: dict[str, bool] = {}

    def has_writer(self, draft: QueueId) -> bool:
        """Return whether the process that made a draft lives, and has shown that by its file.

        Raises:
            OSError: it cannot be told.

        """
        process = process_of(draft)
        return process is not None and self.has_process(process)

    def has_process(self, process: str) -> bool:
        """See ``has_writer``."""
        if process not in self._known:
            self._known[process] = self._lives(process)
        return self._known[process]

    def _lives(self, process: str) -> bool:
        descriptor = regular_files.open_regular(self._directory / _name(process))
        if descriptor is None:
            return False
        try:
            return not locks.try_lock(descriptor)
        finally:
            os.close(descriptor)


class KnownWriters:
    """The processes whose drafts this one works on: their files stay open for the next look."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._open: dict[str, int] = {}

    def has_process(self, process: str) -> bool:
        """Return whether a process lives that writes drafts."""
        descriptor = self._open.get(process)
        if descriptor is not None:
            if locks.is_locked(descriptor):
                return True
            os.close(self._open.pop(process))
        descriptor = regular_files.open_regular(self._directory / _name(process))
        if descriptor is None:
            return False
        if not locks.is_locked(descriptor):
            os.close(descriptor)
            return False
        if len(self._open) >= _MOST_KNOWN:
            self.close()
        self._open[process] = descriptor
        return True

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.popitem()[1])


def process_of(draft: QueueId) -> str | None:
    """Return the number of the process that made a draft; None: another program's."""
    groups = draft.split(".")
    return groups[1] if len(groups) == 3 and groups[1].isdecimal() else None


def _name(process: str) -> str:
    return f"writer.{process}"
