"""The history of the memory store: it ends with the process, as the mail does."""

from collections import deque
from collections.abc import AsyncIterator, Callable

from emailrelay import history_record
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import EndedMessage, PastMessage
from emailrelay.store.mail_history import (
    NO_HISTORY,
    HistoryBounds,
    MailHistory,
    SearchStep,
)

_DAY = 86400


class MemoryHistory(MailHistory):
    """See ``MailHistory``. Its records have the sizes of those that other stores write."""

    def __init__(self) -> None:
        self._bounds, self._records, self._octets = NO_HISTORY, deque[PastMessage](), 0

    def add(self, message: PastMessage) -> None:
        """Add a message that has left."""
        if not self._bounds.off:
            self._records.append(message)
            self._octets += _octets(message)
            self._trim()

    async def keep(self, bounds: HistoryBounds) -> None:
        """See ``MailHistory.keep``."""
        self._bounds = bounds
        self._trim()

    def _trim(self) -> None:
        while self._records and (
            self._bounds.off
            or self._octets > self._bounds.octets
            or self._records[0].ended // _DAY < self._records[-1].ended // _DAY - self._bounds.days
        ):
            self._octets -= _octets(self._records.popleft())

    async def bounds(self) -> HistoryBounds:
        """See ``MailHistory.bounds``."""
        return self._bounds

    async def find(
        self, wanted: HistoryQuery, tell: Callable[[SearchStep], None] = lambda _step: None
    ) -> AsyncIterator[PastMessage]:
        """See ``MailHistory.find``."""
        total = len(self._records)
        for message in reversed(list(self._records)):
            if wanted.matches(message):
                yield message
        tell(SearchStep(place="memory", done=total, total=total))

    async def ends(self, since: float) -> AsyncIterator[EndedMessage]:
        """See ``MailHistory.ends``."""
        for message in list(self._records):
            if message.ended >= since and message.end is not None:
                yield EndedMessage(message.id, message.ended, message.end)


def _octets(message: PastMessage) -> int:
    return len(history_record.write(message))
