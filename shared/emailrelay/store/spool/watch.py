"""Notices what changes in a spool directory, by file events where there are any.

Only the close of a written file is asked for: drafts are written elsewhere, so one event a message
comes, with its final name. Events are hints; whoever uses this scans as well.

watchdog's reader of events is used by itself, without the further threads of its observer: our own lines
in journals are events, too. See ``docs/decisions/events-together.md``.
"""

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    WatchDescriptor,
)

_MOST_WAITING = 100_000
"""Names kept for the loop; beyond these a scan finds what the events told."""
_TOGETHER = 0.1
"""Seconds that the reader rests after it has told something: what happens meanwhile is told at once."""
_ID = CallbackId(1)


class Watch:
    """Watches one directory from a thread and tells names inside the loop."""

    def __init__(self, directory: str, seen: Callable[[str], None]) -> None:
        self._directory, self._seen = directory, seen
        self._names: deque[str] = deque(maxlen=_MOST_WAITING)
        self._told = False
        self._loop = asyncio.get_running_loop()
        self._reader: _Reader | None = None

    def open(self) -> None:
        """Start, or start again after the directory was replaced.

        Raises:
            OSError: no watch is to be had (limits, file system, directory gone).

        """
        self.close()
        reader = _Reader()
        try:
            _start(reader)
            directory, closed = os.fsencode(self._directory), InotifyConstants.IN_CLOSE_WRITE
            reader.add_callback(directory, closed, _Names(self._note), _ID)
        except OSError:
            reader.stop()  # it has a thread and descriptors already, and this is tried each second
            raise
        self._reader = reader

    def alive(self) -> bool:
        """Tell whether events still come: its thread may have died."""
        return self._reader is not None and self._reader.is_alive()

    def close(self) -> None:
        """Stop watching."""
        if self._reader is not None:
            self._reader.stop()
            self._reader.join()
            self._reader = None

    def _note(self, name: str) -> None:
        """Note a name, in the reader's thread; wakes the loop once for many."""
        self._names.append(name)
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:
                return  # the loop has ended

    def _tell(self) -> None:
        self._told = False  # before the names are taken, or one noted meanwhile would wait for ever
        while self._names:
            self._seen(self._names.popleft())


def _start(reader: "_Reader") -> None:
    try:
        reader.start()
    except RuntimeError as error:  # the system has no thread left
        raise OSError(errno.EAGAIN, str(error)) from error


class _Reader(InotifyFD):
    """Reads events in a thread that rests between two looks."""

    def run(self) -> None:
        """Read until stopped."""
        while self.should_keep_running():
            for event in self.read_events():
                self.handle_event(event)
            self.stopped_event.wait(_TOGETHER)


class _Names:
    """Passes on the names that events bear; must not raise, or the reader's thread dies."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def on_event(self, event: InotifyEvent) -> None:
        self._note(os.fsdecode(event.name))

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """Do nothing: whoever looks at the directory's inode sees that it has gone."""

    def on_queue_overflow(self) -> None:
        """Do nothing: the directory's time has changed, so a scan follows."""
