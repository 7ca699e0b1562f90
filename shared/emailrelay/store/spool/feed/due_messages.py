"""Hands out the messages of one index, each when it is due, to the tasks that wait for them."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator

from emailrelay.queue_id import QueueId
from emailrelay.running_loop import running_loop
from emailrelay.store.spool.feed.lately_given import LatelyGiven
from emailrelay.store.spool.feed.scanning import plausible
from emailrelay.store.spool.wake.index import Index, Scheduled, scheduled

_LONGEST_WAIT = 60.0
"""Seconds between two looks at the clock at most: it may be set meanwhile."""


class DueMessages:
    """An index, the tasks that wait, and the timer for the next due time. Belongs to one loop."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Begin empty. ``clock`` returns seconds since 1970."""
        self._clock = clock
        self._index = Index()
        self._given = LatelyGiven()
        self._waiting: deque[asyncio.Future[Scheduled]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        """The due time that the timer was set for."""
        self._error: BaseException | None = None
        self._during_scan: list[Scheduled] | None = None
        """Messages noted since the present scan began; None: there is no scan."""
        self._woken = False
        """All messages are to be due, also those that the first scan has yet to find."""
        self.scanned = asyncio.Event()
        """Set when the first scan has ended."""

    async def next(self) -> Scheduled:
        """Wait for a message that is due; tasks are served in the order of their calls."""
        if not self._waiting and (found := self._pop(self._clock())):
            return found
        if self._error is not None:
            raise self._error
        waiter: asyncio.Future[Scheduled] = running_loop().create_future()
        self._waiting.append(waiter)
        self._set_timer()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._give_back(waiter.result())
            raise

    def more(self, most: int) -> list[Scheduled]:
        """Return further messages that are due now, up to ``most``; none while tasks wait."""
        found: list[Scheduled] = []
        now = self._clock()
        while len(found) < most and not self._waiting and (each := self._pop(now)):
            found.append(each)
        return found

    def _pop(self, now: float) -> Scheduled | None:
        """Take a message that is due out of the index."""
        found = self._index.pop(now)
        if found is not None:
            self._given.note(found.message, running_loop().time())
        return found

    @property
    def waiting(self) -> int:
        """The messages in the index."""
        return len(self._index)

    def _give_back(self, found: Scheduled) -> None:
        self._given.forget(found.message)
        self._index.add(found)
        if self._during_scan is not None:
            self._during_scan.append(found)
        self._serve()

    def _serve(self) -> None:
        """Hand out what is due, and set the timer for the rest."""
        while self._waiting:
            if self._waiting[0].done():  # it was cancelled
                self._waiting.popleft()
            elif found := self._pop(self._clock()):
                self._waiting.popleft().set_result(found)
            else:
                self._set_timer()
                break

    def _set_timer(self) -> None:
        """Set the timer for the next due time, unless it is set for that."""
        due = self._index.next_due()
        if due is None or (self._timer is not None and due == self._timer_due):
            return
        self._stop_timer()
        pause = min(max(due - self._clock(), 0.0), _LONGEST_WAIT)
        self._timer, self._timer_due = running_loop().call_later(pause, self._ring), due

    def _ring(self) -> None:
        self._timer = None
        self._serve()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def note(self, message: QueueId, due: float) -> bool:
        """Note that a message is due at ``due`` (seconds since 1970; 0: now).

        Return False if it was dropped, because more is noted than there are messages.
        """
        now = self._clock()
        entry = scheduled(message, plausible(due, now) if due else now)
        if entry.due <= now:
            noted = self._index.tell(entry)
        else:
            self._given.forget(message)
            noted = self._index.tell_later(entry)
            if noted and self._during_scan is not None:
                self._during_scan.append(entry)
        if self._waiting:
            self._serve()
        return noted

    def wake(self) -> None:
        """Make all messages due."""
        self._index.wake()
        self._woken = not self.scanned.is_set()
        self._serve()

    def recall(self, messages: Collection[QueueId]) -> None:
        """Make these messages due."""
        self._index.recall(messages)
        self._serve()

    async def scan(self, stretches: Iterator[list[Scheduled]]) -> None:
        """Replace the index by what a scan finds; each stretch is read in a thread.

        The first scan adds to the index, so that tasks get its messages at once.

        Raises:
            OSError: the directory cannot be read.

        """
        first, self._during_scan = not self.scanned.is_set(), []
        found: list[Scheduled] = []
        try:
            while (stretch := await asyncio.to_thread(next, stretches, None)) is not None:
                for entry in stretch:
                    if first:
                        self._index.find(entry)
                    elif not self._index.told(entry.message):
                        heapq.heappush(found, self._after_rest(entry))
                self._serve()
            if not first:
                self._index.replace(found, self._during_scan)
            elif self._woken:
                self._index.wake()
            self._serve()
        finally:
            self._during_scan = None
            self.scanned.set()

    def _after_rest(self, entry: Scheduled) -> Scheduled:
        """Put off a message that a scan has found while it is worked on: claims would fail."""
        rest = self._given.rest(entry.message, running_loop().time())
        return scheduled(entry.message, max(entry.due, self._clock() + rest)) if rest else entry

    def fail(self, error: BaseException) -> None:
        """Raise an error in all waiting tasks: without scans mail would wait for ever."""
        self._error = error
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def close(self) -> None:
        """Stop the timer."""
        self._stop_timer()
