"""The due times of one stage's messages, as last seen: a hint that a scan corrects."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field

from emailrelay.queue_id import QueueId


@dataclass(slots=True)
class Index:
    """A heap of (due time, message). A message may stand in it twice: claims sort that out."""

    _heap: list[tuple[float, QueueId]] = field(default_factory=list[tuple[float, QueueId]])

    def add(self, message: QueueId, due: float) -> None:
        """Note a message that is due at ``due`` (seconds since 1970)."""
        heapq.heappush(self._heap, (due, message))

    def replace(
        self, entries: list[tuple[float, QueueId]], since: Iterable[tuple[float, QueueId]]
    ) -> None:
        """Take a scan's result for the truth, and what was noted ``since`` the scan began besides.

        ``entries`` must be a heap already: a million of them are ordered in the scanning thread.
        """
        self._heap = entries
        for entry in since:
            heapq.heappush(entries, entry)

    def pop(self, now: float) -> QueueId | None:
        """Take out the message that has been due longest, or return None."""
        if self._heap and self._heap[0][0] <= now:
            return heapq.heappop(self._heap)[1]
        return None

    def next_due(self) -> float | None:
        """Give the earliest due time."""
        return self._heap[0][0] if self._heap else None

    def wake(self) -> None:
        """Make everything due."""
        self._heap = [(0.0, message) for _, message in self._heap]

    def __len__(self) -> int:
        """Give the number of entries."""
        return len(self._heap)
