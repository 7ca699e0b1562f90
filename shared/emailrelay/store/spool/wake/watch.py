"""Notices what changes in a spool directory, by file events where the system has them.

Events are hints: the user of this module scans as well. Without file events (see
``emailrelay.linux``) it looks at the directory's time once a second, and so notices new names a
little later.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable

from emailrelay import linux

_MOST_WAITING = 100_000
"""Names kept for the loop; a scan finds further ones."""


class Watch:
    """Watches one directory from a thread and reports names in the event loop."""

    def __init__(self, directory: str, seen: Callable[[str], None]) -> None:
        """Prepare; nothing is watched before ``open``."""
        self._directory, self._seen = directory, seen
        self._names: deque[str] = deque(maxlen=_MOST_WAITING)
        self._told = False
        self._loop = asyncio.get_running_loop()
        self._stop: Callable[[], None] | None = None
        self._is_alive: Callable[[], bool] = lambda: not linux.AVAILABLE

    def open(self) -> None:
        """Start, or start again after the directory was replaced.

        Raises:
            OSError: the directory cannot be watched (limits, file system, directory gone).

        """
        self.close()
        if linux.AVAILABLE:
            from emailrelay.store.spool.wake.inotify import Reader  # noqa: PLC0415 - only Linux has it

            reader = Reader(os.fsencode(self._directory), self._note)
            self._stop, self._is_alive = reader.end, reader.is_alive

    def alive(self) -> bool:
        """Return whether changes are still noticed: the thread may have died."""
        return self._is_alive()

    def close(self) -> None:
        """Stop watching."""
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    def _note(self, name: str) -> None:
        """Note a name, in the reader's thread. Many names wake the loop once."""
        self._names.append(name)
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:
                return  # the loop has ended

    def _tell(self) -> None:
        self._told = (
            False  # before the names are taken: a name noted meanwhile must not wait for ever
        )
        while self._names:
            self._seen(self._names.popleft())
