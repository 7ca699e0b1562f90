"""Notices what changes in a spool directory, by file events where there are any.

Only the close of a written file is asked for: drafts are written elsewhere, so one event a message
comes, with its final name. Events are hints; whoever uses this scans as well.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable

from watchdog.events import FileClosedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_MOST_WAITING = 100_000
"""Names kept for the loop; beyond these a scan finds what the events told."""


class Watch:
    """Watches one directory from a thread and tells names inside the loop."""

    def __init__(self, directory: str, seen: Callable[[str], None]) -> None:
        self._directory, self._seen = directory, seen
        self._names: deque[str] = deque(maxlen=_MOST_WAITING)
        self._told = False
        self._loop = asyncio.get_running_loop()
        self._observer: BaseObserver | None = None

    def open(self) -> None:
        """Start, or start again after the directory was replaced.

        Raises:
            OSError: no watch is to be had (limits, file system, directory gone).

        """
        self.close()
        observer = Observer()
        observer.daemon = True
        handler = _Handler(self._note)
        try:
            observer.schedule(handler, self._directory, event_filter=[FileClosedEvent])
            observer.start()
        except OSError:
            observer.stop()  # it has a thread and descriptors already, and this is tried each second
            raise
        self._observer = observer

    def alive(self) -> bool:
        """Tell whether events still come: its thread may have died."""
        return self._observer is not None and self._observer.is_alive()

    def close(self) -> None:
        """Stop watching."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _note(self, name: str) -> None:
        """Note a name, in watchdog's thread; wakes the loop once for many."""
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


class _Handler(FileSystemEventHandler):
    """Passes on the last part of each path; must not raise, or watchdog's thread dies."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note

    def on_closed(self, event: FileSystemEvent) -> None:
        self._note(os.path.basename(os.fsdecode(event.src_path)))
