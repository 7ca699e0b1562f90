"""Hints for one stage: from processes and file events, and from scans, which are the truth."""

import asyncio
import contextlib
import time
from collections.abc import Collection

from emailrelay.events.store import WatchTrouble
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.feed import scanning
from emailrelay.store.spool.feed.due_messages import DueMessages
from emailrelay.store.spool.feed.scanning import DirectoryState, directory_state, settled
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.opening.recovery import Recovery
from emailrelay.store.spool.wake.hint_socket import HintSocket
from emailrelay.store.spool.wake.index import Scheduled
from emailrelay.store.spool.wake.watch import Watch

_LOOK = 1.0
"""Seconds between looks at the directory's time, which shows changes of names."""
_SCAN_ANYWAY = 60.0
"""Seconds after which the directory is scanned and swept even if it seems unchanged."""
_SCAN_SHARE = 20
"""Scans may take at most one part in this many of all time."""
_MOST_TURNS = 10
"""Times that the socket is emptied when all is to be due; another process's may stay full."""
_WHOLE_SOCKET = 4 * 1024 * 1024
"""Octets of hints that are read before all is made due."""
_PATIENCE = 0.5
"""Seconds that the first mail waits for the first scan, so that the oldest goes first.

A larger spool is scanned while its mail is delivered.
"""


class WatchedHints:
    """The index of one stage, kept by this process. Belongs to one running loop."""

    def __init__(self, spool: Spool, stage: Stage) -> None:
        """Prepare; nothing is watched before ``open``."""
        self._spool, self._stage = spool, stage
        self._due = DueMessages(spool.clock)
        self._recovery = Recovery(spool)
        self._asked = asyncio.Event()
        """Set to have the spool scanned at the next look."""
        self._socket = HintSocket(spool.directories.wake, stage, self.later, self._asked.set)
        self._watch = Watch(spool.root.path, self._seen)
        self._polls = False
        """The user was told that hints are missing."""
        self._scans: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open the sources, then scan: a change in between is seen twice rather than never."""
        self._open_sources()
        state = directory_state(self._spool.root.path)
        self._scans = asyncio.create_task(self._scan_for_ever(state))
        self._scans.add_done_callback(self._scans_ended)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._due.scanned.wait()

    def _open_sources(self) -> None:
        try:
            self._spool.make_directories()
            self._socket.open()
            self._watch.open()
        except OSError as error:
            if not self._polls:  # once, not at every look
                reason = f"{self._spool.root}: {error}; polling instead"
                self._spool.report(WatchTrouble(reason=reason))
            self._polls = True
        else:
            self._polls = False

    def _scans_ended(self, scans: asyncio.Task[None]) -> None:
        error = None if scans.cancelled() else scans.exception()
        if error is not None:
            self._due.fail(error)

    async def close(self) -> None:
        """Close the sources, and end the scans."""
        if self._scans is not None:
            self._scans.cancel()
            await asyncio.wait((self._scans,))
        self._socket.close()
        await asyncio.to_thread(self._watch.close)
        self._due.close()

    async def next(self) -> Scheduled:
        """Wait for a message that is due."""
        return await self._due.next()

    def more(self, most: int) -> list[Scheduled]:
        """Return further messages that are due now, up to ``most``."""
        return self._due.more(most)

    @property
    def waiting(self) -> int:
        """The messages in the index: those that wait for their time or for a free task."""
        return self._due.waiting

    def later(self, message: QueueId, due: float) -> None:
        """Note a message that is due at ``due`` (seconds since 1970; 0: from now on)."""
        if not self._due.note(message, due):
            # So many hints may be false ones: a scan shows what is there.
            self._socket.pause()
            self._asked.set()

    def note(self, message: QueueId) -> bool:
        """Note a message that is due now; False if there are too many hints."""
        return self._due.note(message, 0.0)

    def wake(self) -> None:
        """Make everything due, what has just been put off included."""
        self._socket.receive(_WHOLE_SOCKET)
        # One turn of the loop puts off more than a socket holds, and a later hint would miss this.
        for _ in range(_MOST_TURNS):
            missed = self._spool.announcer.announce_missed()
            self._socket.receive(_WHOLE_SOCKET)
            if not missed:
                break
        self._due.wake()

    def recall(self, messages: Collection[QueueId]) -> None:
        """Make these messages due."""
        self._due.recall(messages)

    def _seen(self, name: str) -> None:
        entry = names.parse(name)
        if entry is None or entry.stage is not self._stage:
            return
        try:
            status = files.status_of(self._spool.root / name)
        except OSError:
            return  # renamed or removed since
        self.later(entry.id, scanning.due_time(status, self._spool.clock()))

    async def _scan_for_ever(self, state: DirectoryState | None) -> None:
        """Scan now, after changes, on request, and once a minute with a recovery sweep.

        ``state`` is the directory's before the first scan.
        """
        began = time.monotonic()
        await self._scan()
        looked = swept = time.monotonic()
        took = looked - began
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._asked.wait()
            now, seen = time.monotonic(), directory_state(self._spool.root.path)
            if (rest := looked + took * _SCAN_SHARE - now) > 0:
                await asyncio.sleep(min(rest, _LOOK))
                continue
            if _is_another(seen, state) or self._are_lost():
                await asyncio.to_thread(self._watch.close)
                self._open_sources()
            elif seen == state and now - looked < _SCAN_ANYWAY and not self._asked.is_set():
                continue
            self._asked.clear()
            if now - swept >= _SCAN_ANYWAY or state is None:  # also in a spool that always changes
                await asyncio.to_thread(self._recovery.sweep)
                swept = now
                if not self._socket.is_open:
                    self._socket.open()
            state = settled(seen)
            await self._scan()
            looked = time.monotonic()
            took = looked - now

    async def _scan(self) -> None:
        """Read all names."""
        root, stage, clock = self._spool.root, self._stage, self._spool.clock
        try:
            await self._due.scan(scanning.read_stretches(root, stage, clock()))
        except OSError as error:
            self._spool.trouble(f"list {root}", error)

    def _are_lost(self) -> bool:
        """Tell if hints can no longer arrive."""
        return not self._watch.alive() or self._socket.is_lost()


def _is_another(seen: DirectoryState | None, before: DirectoryState | None) -> bool:
    """Tell if the directory was replaced, or cannot or could not be reached."""
    return seen is None or before is None or seen.inode != before.inode
