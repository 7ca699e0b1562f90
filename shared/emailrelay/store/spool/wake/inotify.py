"""Reads the file events of one directory in a thread of its own (inotify, through watchdog).

Only the close of a written file is asked for. Drafts are written elsewhere, so a message of another
program causes one event, with its final name. watchdog's reader is used without its observer's
further threads: ``docs/decisions/events-together.md`` has the measurement.
"""

import errno
import os
from collections.abc import Callable

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    WatchDescriptor,
)

_REST = 0.1
"""Seconds of a pause after each read; the next read reports the events of the pause."""
_ID = CallbackId(1)


class Reader(InotifyFD):
    """Watches a directory from its construction until ``end``."""

    def __init__(self, directory: bytes, note: Callable[[str], None]) -> None:
        """Start; ``note`` is called in the reader's thread with each name, and must not raise.

        Raises:
            OSError: the directory cannot be watched.

        """
        super().__init__()
        try:
            self._start()
            self.add_callback(directory, InotifyConstants.IN_CLOSE_WRITE, _Names(note), _ID)
        except OSError:
            self.stop()  # it has a thread and descriptors already
            raise

    def _start(self) -> None:
        try:
            self.start()
        except RuntimeError as error:  # the system has no thread left
            raise OSError(errno.EAGAIN, str(error)) from error

    def run(self) -> None:
        """Read until stopped."""
        while self.should_keep_running():
            for event in self.read_events():
                self.handle_event(event)
            self.stopped_event.wait(_REST)

    def end(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        self.join()


class _Names:
    """Passes on the names in events."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def on_event(self, event: InotifyEvent) -> None:
        self._note(os.fsdecode(event.name))

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Do nothing: the user of the watch compares the directory's inode."""

    def on_queue_overflow(self) -> None:
        """Do nothing: the directory's time has changed, so a scan follows."""
