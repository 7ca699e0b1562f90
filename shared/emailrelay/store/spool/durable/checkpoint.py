"""Removes segments of the log: each after a sync of the whole file system that began after its end.

A failed sync is not repeated, since the kernel reports lost data only once. The log is kept, all
processes stop taking mail, and the next first opener restores the files from the log.
"""

import threading
from contextlib import ExitStack
from itertools import takewhile

from emailrelay.store.spool.disk.file_system import FileSystem
from emailrelay.store.spool.durable import segment
from emailrelay.store.spool.durable.log import Log
from emailrelay.store.spool.durable.segment import Segment


class Checkpoints:
    """Removes closed segments, in one thread of a process at a time; several processes may try."""

    def __init__(self, root: str, log: Log) -> None:
        """Open the spool's file system: the kernel reports an error once to each open file."""
        self._log = log
        self._whole = FileSystem(root)
        self._one = threading.Lock()

    def make(self) -> bool:
        """Remove closed segments that the messages' own files show; True if any are left.

        Raises:
            OSError: the disk has failed; nothing was removed.

        """
        with self._one:
            self._remove()  # first: a full disk has room for a next segment only in a removed one
            self._log.close_old()
            left = self._remove()
        return left or not self._log.is_empty()

    def _remove(self) -> bool:
        """Remove the segments that are not needed; True if another one is closed."""
        self._log.behind = 0
        with ExitStack() as opened:
            closed = self._log.closed(opened)
            # In their order: a commit must not outlive its settlement.
            free = [] if self._log.has_failed() else list(takewhile(Segment.take, closed))
            if free:
                self.sync()
            for each in free:
                segment.remove(self._log.directory, each.number, each)
        return len(free) < len(closed)

    def sync(self) -> None:
        """Sync the file system, by the descriptor that has been open from the beginning.

        Raises:
            OSError: the disk has failed; all processes stop taking mail.

        """
        try:
            self._whole.sync()
        except OSError:
            self._log.mark_failed()
            raise

    def sync_before_replay(self) -> None:
        """Write all files back, so that ``sync`` tells only of those that a replay writes.

        Raises:
            OSError: some were lost; the replay writes them anew.

        """
        self._whole.sync()

    def open_again(self, root: str) -> None:
        """Use the file system that the spool is on now."""
        self._whole.open_again(root)

    def close(self) -> None:
        """Close the file system."""
        self._whole.close()
