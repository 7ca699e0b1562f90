"""Scans the spool after changes, on request, and once a minute with a recovery sweep."""

import asyncio
import contextlib
import time
from typing import Protocol

from emailrelay.store.spool.feed.scanning import DirectoryState, directory_state, settled
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.opening.recovery import Recovery

_LOOK = 1.0
"""Seconds between looks at the directory's time, which shows changes of names."""
_SCAN_ANYWAY = 60.0
"""Seconds after which the directory is scanned and swept even if it seems unchanged."""
_SCAN_SHARE = 20
"""Scans may take at most one part in this many of all time."""


class Sources(Protocol):
    """The hints that scans correct."""

    async def scan(self) -> None:
        """Read all names."""

    def are_lost(self) -> bool:
        """Tell if hints can no longer arrive."""
        ...

    async def reopen(self) -> None:
        """Open all sources of hints again."""

    def retry_socket(self) -> None:
        """Open the hint socket if that has failed before."""


class Rescans:
    """The timer of one feed's scans. Belongs to one running loop."""

    def __init__(self, spool: Spool, sources: Sources) -> None:
        """Prepare; ``run`` begins."""
        self._spool, self._sources = spool, sources
        self._recovery = Recovery(spool)
        self.asked = asyncio.Event()
        """Set to have the spool scanned at the next look."""

    async def run(self, state: DirectoryState | None) -> None:
        """Scan now, and again for ever. ``state`` is the directory's before the first scan."""
        began = time.monotonic()
        await self._sources.scan()
        looked = swept = time.monotonic()
        took = looked - began
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self.asked.wait()
            now, seen = time.monotonic(), directory_state(self._spool.root.path)
            if (rest := looked + took * _SCAN_SHARE - now) > 0:
                await asyncio.sleep(min(rest, _LOOK))
                continue
            if _is_another(seen, state) or self._sources.are_lost():
                await self._sources.reopen()
            elif seen == state and now - looked < _SCAN_ANYWAY and not self.asked.is_set():
                continue
            self.asked.clear()
            if now - swept >= _SCAN_ANYWAY or state is None:  # also in a spool that always changes
                await asyncio.to_thread(self._recovery.sweep)
                swept = now
                self._sources.retry_socket()
            state = settled(seen)
            await self._sources.scan()
            looked = time.monotonic()
            took = looked - now


def _is_another(seen: DirectoryState | None, before: DirectoryState | None) -> bool:
    """Tell if the directory was replaced, or cannot or could not be reached."""
    return seen is None or before is None or seen.inode != before.inode
