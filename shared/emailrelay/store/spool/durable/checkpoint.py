"""When a segment of the log may go: after a sync of the whole file system, begun when it was closed.

A sync that fails is not repeated, since the kernel tells of what it lost only once: the log is kept, all
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
    """Takes closed segments away. One at a time in a process; several processes may try."""

    def __init__(self, root: str, log: Log) -> None:
        """Open the spool's file system for ourselves: an error is told once to each who has."""
        self._log = log
        self._whole = FileSystem(root)
        self._one = threading.Lock()

    def make(self) -> bool:
        """Take away what is closed and shown by the messages' own files; True if anything is left.

        Raises:
            OSError: the disk has failed; nothing was taken away.

        """
        with self._one:
            self._take_away()  # first: on a full disk the next segment can only be one that was taken away
            self._log.close_old()
            left = self._take_away()
        return left or not self._log.is_empty()

    def _take_away(self) -> bool:
        """Take away what can go; True if anything else is closed."""
        self._log.behind = 0
        with ExitStack() as opened:
            closed = self._log.closed()
            for each in closed:
                opened.callback(each.close)
            # In their order: what a settlement is about must not outlive it.
            free = [] if self._log.is_sick() else list(takewhile(Segment.take, closed))
            if free:
                self._sync()
            for each in free:
                segment.remove(self._log.directory, each.number)
        return len(free) < len(closed)

    def _sync(self) -> None:
        try:
            self._whole.sync()
        except OSError:
            self._log.fall_sick()
            raise

    def open_again(self, root: str) -> None:
        """Have the file system that the spool is on by now."""
        self._whole.open_again(root)

    def close(self) -> None:
        """Close the file system."""
        self._whole.close()
