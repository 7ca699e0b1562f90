"""One stage's index, kept right by the bell, by file events, and by scans, which are the truth."""

import asyncio
import contextlib
import heapq
import os
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from emailrelay.events import WatchTrouble
from emailrelay.queue_id import QueueId
from emailrelay.schedule import is_due, was_set_back
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, names
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.life.recovery import Recovery
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake.doorbell import HintSocket
from emailrelay.store.spool.wake.index import Index, Scheduled, scheduled
from emailrelay.store.spool.wake.watch import Watch

_MOST_TURNS = 10
"""Times that an ear is filled and emptied when everything is to be due; another's may stay full."""
_WHOLE_EAR = 4 * 1024 * 1024
"""Octets heard before everything is made due."""
_LOOK = 1.0
"""Seconds between looks at the directory's time, which tells whether names have changed."""
_SCAN_ANYWAY = 60.0
"""Seconds after which the directory is scanned and swept even if nothing seems to have changed."""
_SCAN_SHARE = 20
"""A scan may take at most one part in this many of all time."""
_CLOCK_GRAIN = 20_000_000
"""Nanoseconds: a change so shortly before a scan may carry the time that the scan has seen."""
_PATIENCE = 0.5
"""Seconds that the first mail waits for the first scan, so that the oldest goes first; a larger spool is
looked through while its mail is on the way."""
_STRETCH = 2000
"""Names that a scan reads at a time; between two stretches the loop does other things."""
_LONGEST_WAIT = 60.0
"""Seconds slept at most for a due time: the clock may be set meanwhile."""


class _State(NamedTuple):
    """What tells that a directory has changed, or is another one."""

    inode: int
    changed: int


class WatchedHints:
    """The index of one stage, kept by this process. Belongs to one running loop."""

    def __init__(self, spool: Spool, stage: Stage) -> None:
        """Prepare; nothing is watched before ``open``."""
        self._spool, self._stage = spool, stage
        self._index = Index()
        self._waiting: deque[asyncio.Future[Scheduled]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._asked = asyncio.Event()
        self._ear = HintSocket(spool.directories.wake, stage, self.later, self._asked.set)
        self._watch = Watch(spool.root.path, self._seen)
        self._blind = False
        self._recovery = Recovery(spool)
        self._meanwhile: list[Scheduled] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._scanned = asyncio.Event()
        """The first scan has ended."""
        self._woken = False
        """Everything is to be due, also what the first scan has yet to find."""

    async def open(self) -> None:
        """Arm first, then scan: what comes in between is seen twice rather than never."""
        self._arm()
        self._looking = asyncio.create_task(self._keep_looking(_state(self._spool.root.path)))
        self._looking.add_done_callback(self._looked_last)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._scanned.wait()

    async def close(self) -> None:
        """Stop watching."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait((self._looking,))
        self._ear.close()
        await asyncio.to_thread(self._watch.close)
        if self._timer is not None:
            self._timer.cancel()

    async def next(self) -> Scheduled:
        """Wait for a message that is due; waiting tasks are served in the order they came."""
        if not self._waiting and (found := self._index.pop(self._spool.clock())):
            return found
        self._check_looking()
        waiter: asyncio.Future[Scheduled] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._serve()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                found = waiter.result()  # cancelled with a hint in hand
                self._index.add(found)
                if self._meanwhile is not None:
                    self._meanwhile.append(found)
                self._serve()
            raise

    def _serve(self) -> None:
        """Give what is due to those who wait, and come back when more is."""
        while self._waiting:
            if self._waiting[0].done():  # it was cancelled
                self._waiting.popleft()
            elif found := self._index.pop(self._spool.clock()):
                self._waiting.popleft().set_result(found)
            else:
                break
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting and len(self._index):
            self._timer = asyncio.get_running_loop().call_later(self._pause(), self._serve)

    def _looked_last(self, looking: asyncio.Task[None]) -> None:
        """Fail if the scans have ended by an error: mail would wait for ever, and nobody know."""
        error = None if looking.cancelled() else looking.exception()
        while error is not None and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _check_looking(self) -> None:
        looking = self._looking
        if looking is not None and looking.done() and not looking.cancelled():
            looking.result()

    def _pause(self) -> float:
        due = self._index.next_due()
        if due is None:
            return _LONGEST_WAIT
        return min(max(due - self._spool.clock(), 0.0), _LONGEST_WAIT)

    def later(self, message: QueueId, due: float) -> None:
        """Note a message that is due at ``due`` (seconds since 1970; 0: from now on)."""
        now = self._spool.clock()
        entry = scheduled(message, _plausible(due or now, now))
        if entry.due <= now:
            kept = self._index.tell(entry)
        else:
            kept = self._index.tell_later(entry)
            if kept and self._meanwhile is not None:
                self._meanwhile.append(entry)
        if not kept:  # whoever rings so often may ring for nothing: a scan tells what there is
            self._ear.rest()
            self._asked.set()
        self._serve()

    def wake(self) -> None:
        """Make everything due, what has just been put off included."""
        self._ear.hear(_WHOLE_EAR)
        # One turn of the loop puts off more than an ear holds, and what is told later would miss this.
        for _ in range(_MOST_TURNS):
            missed = self._spool.bell.ring_again()
            self._ear.hear(_WHOLE_EAR)
            if not missed:
                break
        self._index.wake()
        self._woken = not self._scanned.is_set()
        self._serve()

    def _seen(self, name: str) -> None:
        entry = names.parse(name)
        if entry is None or entry.stage is not self._stage:
            return
        with contextlib.suppress(OSError):  # it has moved on
            self.later(
                entry.id, _due(files.status_of(self._spool.root / name), self._spool.clock())
            )

    def _arm(self) -> None:
        try:
            self._spool.make_directories()
            self._ear.open()
            self._watch.open()
        except OSError as error:
            if not self._blind:  # once, not at every look
                reason = f"{self._spool.root}: {error}; polling instead"
                self._spool.report(WatchTrouble(reason=reason))
            self._blind = True
        else:
            self._blind = False

    async def _keep_looking(self, state: _State | None) -> None:
        """Scan when the directory has changed, or we are asked to, and now and then in any case."""
        began = time.monotonic()
        await self._scan()
        looked = swept = time.monotonic()
        took = looked - began
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await self._asked.wait()
            now, seen = time.monotonic(), _state(self._spool.root.path)
            if (rest := looked + took * _SCAN_SHARE - now) > 0:
                await asyncio.sleep(min(rest, _LOOK))
                continue
            if (
                seen is None
                or state is None
                or seen.inode != state.inode
                or not self._watch.alive()
                or self._ear.is_lost()
            ):
                await asyncio.to_thread(self._watch.close)
                self._arm()
            elif seen == state and now - looked < _SCAN_ANYWAY and not self._asked.is_set():
                continue
            self._asked.clear()
            if now - swept >= _SCAN_ANYWAY or state is None:  # a busy spool has its dead as well
                await asyncio.to_thread(self._recovery.sweep)
                swept = now
                if not self._ear.listens:
                    self._ear.open()
            state = _settled(seen)
            await self._scan()
            looked = time.monotonic()
            took = looked - now

    async def _scan(self) -> None:
        """Look at all names. What the first scan finds may be had at once; a later one corrects at its end."""
        first, self._meanwhile = not self._scanned.is_set(), []
        found: list[Scheduled] = []
        try:
            names_ = _read_names(self._spool.root, self._stage, self._spool.clock())
            while (stretch := await asyncio.to_thread(next, names_, None)) is not None:
                for entry in stretch:
                    if first:
                        self._index.find(entry)
                    elif not self._index.told(entry.message):
                        heapq.heappush(found, entry)
                self._serve()
        except OSError as error:
            self._spool.trouble(f"list {self._spool.root}", error)
        else:
            if not first:
                self._index.replace(found, self._meanwhile)
            elif self._woken:
                self._index.wake()
            self._serve()
        finally:
            self._meanwhile = None
            self._scanned.set()


def _plausible(due: float, now: float) -> float:
    """Give a due time that the index can sort by: one that no clock of ours set means at once."""
    return min(due, now) if is_due(due, now) else due


def _due(status: os.stat_result, now: float) -> float:
    """Give the time that a file's times tell."""
    if status.st_mtime <= now >= status.st_ctime:
        return status.st_mtime  # as the rules have it for all that is past, which most of it is
    return now if was_set_back(status.st_ctime, now) else _plausible(status.st_mtime, now)


def _state(directory: str) -> _State | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return _State(status.st_ino, status.st_mtime_ns)


def _settled(state: _State | None) -> _State | None:
    """Give a state to compare the next with; one that may change within its clock's grain is doubted."""
    if state is not None and time.time_ns() - state.changed < _CLOCK_GRAIN:
        return state._replace(changed=0)
    return state


def _read_names(directory: Directory, stage: Stage, now: float) -> Iterator[list[Scheduled]]:
    """List a stage's messages with their due times, stretch by stretch, by names and file times alone."""
    ending = names.ending(stage)
    with files.scanned(directory) as entries:
        while stretch := list(islice(entries, _STRETCH)):
            found: list[Scheduled] = []
            for item in stretch:
                # Half of the names are contents: with a million messages each microsecond is a second.
                if not item.name.endswith(ending):
                    continue
                entry = names.parse(item.name)
                if entry is None or entry.stage is not stage:
                    continue
                try:
                    status = item.stat(follow_symlinks=False)
                except OSError:  # it has moved on
                    continue
                found.append(scheduled(entry.id, _due(status, now)))
            yield found
