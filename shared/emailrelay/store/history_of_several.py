"""The histories of several stores as one."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from emailrelay.errors import StoreError
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import EndedMessage, PastMessage
from emailrelay.message_end import MessageEnd
from emailrelay.store.base import Store
from emailrelay.store.mail_history import HistoryBounds, MailHistory, SearchStep

_CLOCKS = 300.0
"""Seconds by which the clocks of two stores may differ."""


class HistoryOfSeveral(MailHistory):
    """See ``MailHistory``. Trouble with one store is raised after the others have been asked.

    ``away``: the reason why there are more stores than ``stores``. ``note`` is called with new
    bounds, for the stores that come back later.
    """

    def __init__(
        self,
        stores: Iterable[Store],
        *,
        note: Callable[[HistoryBounds], None],
        away: StoreError | None = None,
    ) -> None:
        self._histories: Sequence[MailHistory] = [store.history() for store in stores]
        self._note, self._away = note, away

    async def keep(self, bounds: HistoryBounds) -> None:
        """See ``MailHistory.keep``."""
        self._note(bounds)
        trouble: StoreError | None = None
        for history in self._histories:
            try:
                await history.keep(bounds)
            except StoreError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    async def bounds(self) -> HistoryBounds:
        """See ``MailHistory.bounds``; of several the widest."""
        found = [await history.bounds() for history in self._histories]
        return max(found, key=lambda bounds: (not bounds.off, bounds.days, bounds.octets))

    async def find(
        self, wanted: HistoryQuery, tell: Callable[[SearchStep], None] = lambda _step: None
    ) -> AsyncIterator[PastMessage]:
        """See ``MailHistory.find``."""
        trouble = self._away
        rest = [history.find(wanted, tell) for history in self._histories]
        heads: list[tuple[PastMessage, AsyncIterator[PastMessage]]] = []
        while rest or heads:
            for stream in rest:
                try:
                    head = await anext(stream, None)
                except StoreError as error:
                    trouble = error
                    continue
                if head is not None:
                    heads.append((head, stream))
            rest = []
            if heads:
                newest = max(heads, key=lambda pair: _place(pair[0]))
                heads.remove(newest)
                rest = [newest[1]]
                yield newest[0]
        if trouble is not None:
            raise trouble

    async def ends(self, since: float) -> AsyncIterator[EndedMessage]:
        """See ``MailHistory.ends``."""
        trouble = self._away
        for history in self._histories:
            try:
                async for ended in history.ends(since):
                    yield ended
            except StoreError as error:
                trouble = error
        if trouble is not None:
            raise trouble


def _place(message: PastMessage) -> float:
    """Return the time by which messages are put in order: a move comes before what follows it."""
    return message.ended - (_CLOCKS if message.end is MessageEnd.MOVED else 0.0)
