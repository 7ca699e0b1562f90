"""The due times of one stage's messages, as last seen: a hint that a scan corrects."""

import heapq
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from emailrelay.queue_id import QueueId

_AT_ALL_EVENTS = float("-inf")
_MOST_TOLD = 10_000
"""Hints accepted between two scans, in addition to as many as the last scan has found."""


class Scheduled(NamedTuple):
    """A message to try. Ordered by due time; of two ids the shorter one has the earlier count."""

    due: float
    length: int
    message: QueueId

    @property
    def forced(self) -> bool:
        """True: it is to be tried even before its time."""
        return self.due == _AT_ALL_EVENTS


def scheduled(message: QueueId, due: float) -> Scheduled:
    """Return a hint that a message is due at ``due`` (seconds since 1970)."""
    return Scheduled(due, len(message), message)


def forced(message: QueueId) -> Scheduled:
    """Return a hint that a message is due regardless of its time."""
    return scheduled(message, _AT_ALL_EVENTS)


@dataclass(slots=True)
class Index:
    """A heap of hints, and a queue of news. A message may be in both: the claim decides.

    The two take turns: a million messages for an unavailable server must not delay one that has
    just come in for another server, and new messages must not delay those forever.
    """

    _heap: list[Scheduled] = field(default_factory=list[Scheduled])
    _news: deque[Scheduled] = field(default_factory=deque[Scheduled])
    """Messages that were due when their hint came, in that order; each message once."""
    _new: set[QueueId] = field(default_factory=set[QueueId])
    """The messages in the news."""
    _news_next: bool = True
    _scanned: int = 0
    """Messages that the last scan has found."""
    _added: int = 0
    """Hints of future due times since then."""
    _woken: OrderedDict[QueueId, None] = field(default_factory=OrderedDict[QueueId, None])
    """Messages to be tried regardless of their time; a scan cannot know them."""

    def add(self, entry: Scheduled) -> None:
        """Note a message."""
        heapq.heappush(self._heap, entry)

    def find(self, entry: Scheduled) -> None:
        """Note a message that the first scan has found."""
        self._scanned += 1
        self.add(entry)

    def tell(self, entry: Scheduled) -> bool:
        """Note a message that has just become due; False if there are too many hints."""
        if entry.message not in self._new:
            if len(self._news) >= _MOST_TOLD + self._scanned:
                return False
            self._new.add(entry.message)
            self._news.append(entry)
        return True

    def tell_later(self, entry: Scheduled) -> bool:
        """Note a message with a future due time; False if there are too many hints."""
        if self._added >= _MOST_TOLD + self._scanned:
            return False
        self._added += 1
        self.add(entry)
        return True

    def told(self, message: QueueId) -> bool:
        """Tell if a message is in the news, so that it need not be noted again."""
        return message in self._new

    def replace(self, heap: list[Scheduled], meanwhile: Iterable[Scheduled]) -> None:
        """Replace the heap by a scan's result, and add the hints of ``meanwhile``."""
        self._heap, self._scanned, self._added = heap, len(heap), 0
        for entry in meanwhile:
            heapq.heappush(heap, entry)

    def pop(self, now: float) -> Scheduled | None:
        """Take out the first of the news, or the message with the earliest due time, in turns.

        If there is neither, take a woken one; else return None.
        """
        due = bool(self._heap) and self._heap[0].due <= now
        if self._news and (self._news_next or not due):
            self._news_next = False
            self._new.discard(self._news[0].message)
            return self._news.popleft()
        if due:
            self._news_next = True
            return heapq.heappop(self._heap)
        return forced(self._woken.popitem(last=False)[0]) if self._woken else None

    def next_due(self) -> float | None:
        """Return the earliest due time."""
        if self._woken or self._news:
            return _AT_ALL_EVENTS
        return self._heap[0].due if self._heap else None

    def wake(self) -> None:
        """Make everything due, each message once: a try for each entry would be a storm."""
        self.recall([entry.message for entry in self._heap])
        self._heap = []

    def recall(self, messages: Collection[QueueId]) -> None:
        """Make these due. Their entries stay, and a scan corrects them: to find them takes long."""
        self._woken.update(dict.fromkeys(messages))

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._heap) + len(self._news) + len(self._woken)
