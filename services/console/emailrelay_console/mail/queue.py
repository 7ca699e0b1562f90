"""The queue of the store for the pages: found by the index, and read at that moment."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from emailrelay.queue.grouping import Grouping, MessageGroup
from emailrelay.queue.row import QueueRow, row
from emailrelay.queue.totals import Totals
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueEntry, QueueView
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.queue_index import MOST_GROUPS, IndexState, Order, QueueIndex
from emailrelay_console.mail.queue_refresh import QueueRefresh, note
from emailrelay_console.mail.reader import QueueReader


class Queue:
    """See the module. All methods raise what ``QueueReader.read`` raises."""

    def __init__(
        self,
        reader: QueueReader,
        index: QueueIndex,
        refresh: QueueRefresh,
        clock: Callable[[], float],
    ) -> None:
        self._reader, self._index, self._refresh, self._clock = reader, index, refresh, clock

    @property
    def trouble(self) -> str:
        """Why the queue cannot be listed now; empty: it can."""
        return self._refresh.trouble

    async def state(self) -> IndexState:
        """Return how much of the queue is known, after a fresh look if it is time for one."""
        await self._refresh.refresh_if_due()
        return await asyncio.to_thread(self._index.state)

    async def refresh_now(self) -> None:
        """Look at the queue now: before the messages of a selection are counted for a change."""
        await self._refresh.refresh_now()

    async def totals(self) -> dict[str, Totals]:
        """Return the totals of each state."""
        return await asyncio.to_thread(self._index.totals, self._clock())

    async def count(self, wanted: PageSelection) -> int:
        """Return the number of messages that match."""
        return await asyncio.to_thread(self._index.count, wanted, self._clock())

    async def groups(
        self, wanted: PageSelection, by: Grouping, most: int = MOST_GROUPS
    ) -> list[MessageGroup]:
        """Return the largest groups of the messages that match."""
        return await asyncio.to_thread(self._index.groups, wanted, by, self._clock(), most)

    async def room(self) -> tuple[int, int] | None:
        """Return the octets of free room and of all room. None: the store does not know."""
        return await self._reader.read(_room)

    async def ids(
        self, wanted: PageSelection, order: Order, *, first: int, most: int
    ) -> list[QueueId]:
        """Return the ids of ``most`` messages that match, after the ``first`` ones."""
        look = partial(self._index.page, order=order, first=first, most=most)
        return await asyncio.to_thread(look, wanted, self._clock())

    async def rows(self, ids: Sequence[QueueId]) -> list[QueueRow]:
        """Return messages as they are now, in the same order; those that have left are left out."""
        now = self._clock()
        return [row(entry, now) for entry in await self.entries(ids)]

    async def entries(self, ids: Sequence[QueueId]) -> list[QueueEntry]:
        """Read messages, in the same order; those that have left are left out."""

        def read(view: QueueView) -> list[QueueEntry]:
            return list(view.entries(view.listing(ids=ids)))

        found = {entry.listed.id: entry for entry in await self._reader.read(read)} if ids else {}
        return [found[each] for each in ids if each in found]

    async def note(self, ids: Sequence[QueueId]) -> None:
        """Let the index know the present state of messages that were just changed."""
        await self._reader.read(partial(_note, self._index, ids))


def _note(index: QueueIndex, ids: Sequence[QueueId], view: QueueView) -> None:
    note(index, view, ids)


def _room(view: QueueView) -> tuple[int, int] | None:
    return view.free()
