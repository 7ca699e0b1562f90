"""The search of the history page: messages in the store, then those that have left it."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from emailrelay.errors import RelayError
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage
from emailrelay.journal import read as read_journal
from emailrelay.queue.row import last_reply
from emailrelay.queue.time_line import state
from emailrelay.queue.trace_search import TraceSearch
from emailrelay.queue_id import QueueId
from emailrelay.store.base import Store
from emailrelay_console.mail.message_facts import past_of
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.queue_index import Order
from emailrelay_console.mail.store_holder import StoreHolder

_T = TypeVar("_T")
MOST = 50
"""Messages of an answer."""
SECONDS = 10.0
"""The most time of a search."""
_FEW = 2000
"""A search reads all messages of a store that has no more than these. Otherwise the index finds
them by addresses and replies."""
_AT_ONCE = 2
_SHOWN = 3
"""Recipients of a message that are named."""


class SearchBusy(RelayError):
    """Other searches are in progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    """A message that matches. Times are in seconds since 1970."""

    id: QueueId
    state: str
    arrived: float | None
    ended: float | None
    """None: it is in the store."""
    sender: str
    recipients: tuple[str, ...]
    """The first ones."""
    more: int
    """The number of other recipients."""
    size: int
    reply: str


@dataclass(slots=True)
class SearchResult(Generic[_T]):
    """The messages that were found, those in the store first, then the newest."""

    messages: list[_T] = field(default_factory=list[_T])
    cut: bool = False
    """True if there are more."""
    late: bool = False
    """True if the time was over before the end of the search."""
    indexed: bool = False
    """True if the index looked for the messages in the store."""
    trouble: str = ""
    """The reason why there may be more messages."""


class PastSearch:
    """Searches the store and its history."""

    def __init__(self, store: StoreHolder, queue: Queue, clock: Callable[[], float]) -> None:
        self._store, self._queue, self._clock = store, queue, clock
        self._running = 0

    async def find(
        self,
        wanted: HistoryQuery,
        written: str,
        *,
        shown: Callable[[PastMessage], _T],
        most: int = MOST,
    ) -> SearchResult[_T]:
        """Search for messages, ``most`` at most, and keep what ``shown`` makes of each.

        ``written``: the text of the query.

        Raises:
            SearchBusy: others search; a search reads many files.
            StoreError, StoreUnusable: the store cannot be opened now.

        """
        if self._running >= _AT_ONCE:
            raise SearchBusy("other searches of the history are in progress; try again soon")
        self._running += 1
        result = SearchResult[_T]()
        try:
            async with asyncio.timeout(SECONDS):
                await self._fill(result, wanted, written, shown, most)
        except TimeoutError:
            result.late = True
        finally:
            self._running -= 1
        return result

    async def _fill(
        self,
        result: SearchResult[_T],
        wanted: HistoryQuery,
        written: str,
        shown: Callable[[PastMessage], _T],
        most: int,
    ) -> None:
        store, index = await self._store.get(), await self._queue.state()
        seen = set[QueueId]()
        result.indexed = wanted.id is None and index.messages > _FEW
        source = (
            self._by_index(store, wanted, written, most)
            if result.indexed
            else self._by_reading(store, wanted, result)
        )
        async with aclosing(source) as found:
            async for message in found:
                if message.id in seen:
                    continue
                if len(seen) == most:
                    result.cut = True
                    return
                seen.add(message.id)
                result.messages.append(shown(message))
                await asyncio.sleep(0)

    async def _by_reading(
        self, store: Store, wanted: HistoryQuery, result: SearchResult[_T]
    ) -> AsyncGenerator[PastMessage]:
        search = TraceSearch(
            store=store, wanted=wanted, now=self._clock(), most=0, tell=lambda _step: None
        )
        async with aclosing(search.run()) as found:
            async for message in found:
                yield message
        result.trouble = "" if search.trouble is None else str(search.trouble)

    async def _by_index(
        self, store: Store, wanted: HistoryQuery, written: str, most: int
    ) -> AsyncGenerator[PastMessage]:
        for each in (PageSelection(address=written), PageSelection(reply=written)):
            ids = await self._queue.ids(each, Order.NEWEST, first=0, most=most + 1)
            for entry in await self._queue.entries(ids):
                if entry.envelope is not None:
                    yield past_of(entry, self._clock())
        async for message in store.history().find(wanted):
            yield message


def found_message(past: PastMessage) -> FoundMessage:
    """Return what a list shows of a message."""
    return FoundMessage(
        id=past.id,
        state=state(past),
        arrived=past.arrived,
        ended=None if past.end is None else past.ended,
        sender=past.sender,
        recipients=past.recipients[:_SHOWN],
        more=max(0, len(past.recipients) - _SHOWN) + past.more,
        size=past.size,
        reply=last_reply(read_journal(past.entries)),
    )
