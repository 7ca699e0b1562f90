"""The changes in progress, and those that ended lately."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Self

from emailrelay.errors import RelayError, reason_of
from emailrelay.events.event import Report
from emailrelay.events.service import InternalError
from emailrelay.queue.action import Action
from emailrelay.queue.selection import RoutesOf
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueEntry
from emailrelay_console.mail.change import MessageChange, carry_out
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.queue_index import Order
from emailrelay_console.mail.store_holder import StoreHolder

_MOST_RUNNING = 4
_MOST_KEPT = 100
_AT_ONCE = 200
_MOST_AT_ALL = 10_000_000


class TooManyChanges(RelayError):
    """Other changes have to end first."""


class Changes:
    """An ``async with`` block; its end stops the changes in progress."""

    def __init__(
        self,
        store: StoreHolder,
        queue: Queue,
        *,
        report: Report,
        clock: Callable[[], float],
        routes_of: RoutesOf,
    ) -> None:
        self._store, self._queue, self._routes_of = store, queue, routes_of
        self._report, self._clock = report, clock
        self._kept = OrderedDict[int, MessageChange]()
        self._tasks = set[asyncio.Task[None]]()
        self._latest = 0

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the changes in progress: each message is changed whole, or not at all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def find(self, number: int) -> MessageChange | None:
        """Return a change; None: there is none of this number, or it ended long ago."""
        return self._kept.get(number)

    async def of_some(self, action: Action, ids: Sequence[QueueId], user: str) -> int:
        """Begin to change these messages; return the number of the change.

        Raises:
            TooManyChanges: others are in progress.

        """
        return self._begin(action, user, ids, None)

    async def of_all(self, action: Action, wanted: PageSelection, user: str) -> int:
        """Begin to change the messages that match; return the number of the change.

        Raises:
            TooManyChanges: others are in progress.

        """
        ids = await self._queue.ids(wanted, Order.OLDEST, first=0, most=_MOST_AT_ALL)
        return self._begin(action, user, ids, wanted)

    def _begin(
        self, action: Action, user: str, ids: Sequence[QueueId], wanted: PageSelection | None
    ) -> int:
        if len(self._tasks) >= _MOST_RUNNING:
            raise TooManyChanges("other changes are in progress; wait for their end")
        self._latest += 1
        change = MessageChange(action=action, user=user, total=len(ids))
        self._kept[self._latest] = change
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        task = asyncio.create_task(self._run(change, ids, wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return self._latest

    async def wait(self, number: int, patience: float) -> None:
        """Wait for the end of a change, ``patience`` seconds at most."""
        change = self._kept.get(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                if change is not None:
                    await change.over.wait()

    async def _run(
        self, change: MessageChange, ids: Sequence[QueueId], wanted: PageSelection | None
    ) -> None:
        try:
            store = await self._store.get()
            entries = self._entries(change, ids, wanted)
            await carry_out(change, store, entries, report=self._report, clock=self._clock)
            await self._queue.note(ids)
        except (RelayError, OSError) as error:
            change.problems.append(reason_of(error))
        except Exception as error:  # noqa: BLE001 -- the task has no caller to raise it in
            change.problems.append("The console has failed. Its log has the reason.")
            self._report(InternalError(doing=f"{change.action} messages", reason=repr(error)))
        finally:
            change.over.set()

    async def _entries(
        self, change: MessageChange, ids: Sequence[QueueId], wanted: PageSelection | None
    ) -> AsyncIterator[list[QueueEntry]]:
        """Read the messages at the moment of their change; leave out those that no longer match."""
        for first in range(0, len(ids), _AT_ONCE):
            part = ids[first : first + _AT_ONCE]
            found, now = await self._queue.entries(part), self._clock()
            fit = [
                each for each in found if wanted is None or wanted.fits(each, now, self._routes_of)
            ]
            change.passed += len(part) - len(fit)
            yield fit
