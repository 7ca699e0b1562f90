"""Updates the index of the queue while a browser uses it, in a small share of the time."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from itertools import islice

from emailrelay.errors import reason_of
from emailrelay.queue_id import QueueId
from emailrelay.store.queue_view import QueueView
from emailrelay_console.mail.queue_index import QueueIndex

_PAUSE = 2.0
"""Seconds between two listings at least."""
_SHARE = 30
"""Listings take one part of the time in so many."""
_PATIENCE = 5.0
"""Seconds that a page waits for the first listing, or for all of a small queue."""
_AT_ONCE = 200


class QueueRefresh:
    """Reads the queue into the index. Nothing is read while no page asks."""

    def __init__(self, opens: Callable[[], QueueView], index: QueueIndex) -> None:
        self._opens, self._index = opens, index
        self._loop = asyncio.get_running_loop()
        self._not_before = 0.0
        self._listed = asyncio.Event()
        self._end: asyncio.Event | None = None
        """None: no refresh goes on."""
        self._over = False
        self.at: float | None = None
        """The time of the latest listing on the monotonic clock; None: there is none."""
        self.trouble = ""
        """Why the latest attempt did not succeed."""

    async def refresh_if_due(self) -> None:
        """Begin a refresh if it is time for one. Wait only while the index was never filled."""
        if self._end is None and time.monotonic() >= self._not_before:
            self._begin()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                if self.at is None and not self._listed.is_set():
                    await self._listed.wait()

    async def refresh_now(self) -> None:
        """Read the queue now, before many messages are counted and changed; wait for the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                if self._end is not None:  # it may have passed over the latest mail
                    await self._end.wait()
                if self._end is None:
                    self._begin()
                end = self._end
                if end is not None:
                    await end.wait()

    def close(self) -> None:
        """Let a refresh that goes on end soon."""
        self._over = True

    def _begin(self) -> None:
        self._end = asyncio.Event()
        threading.Thread(target=self._run, daemon=True, name="index the queue").start()

    def _run(self) -> None:
        began, trouble = time.monotonic(), ""
        try:
            with self._opens() as view:
                self._index.take_listing(view.listing())
                listed = time.monotonic() - began
                if view.missing is not None:
                    trouble = f"a part of the queue is unavailable: {view.missing}"
                self._tell(self._has_listed, began)
                self._read(view)
        except Exception as error:  # noqa: BLE001 -- the thread has no caller to raise it in
            listed = time.monotonic() - began
            trouble = reason_of(error) or repr(error)
        self._tell(self._has_ended, trouble, max(_PAUSE, _SHARE * listed))

    def _read(self, view: QueueView) -> None:
        while not self._over and (unread := self._index.unread(_AT_ONCE)):
            entries = list(view.entries(unread))
            self._index.take_entries(entries)
            read = {entry.listed.id for entry in entries}
            self._index.forget(each.id for each in unread if each.id not in read)

    def _tell(self, act: Callable[..., None], *values: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(act, *values)

    def _has_listed(self, began: float) -> None:
        self.at = began
        self._listed.set()

    def _has_ended(self, trouble: str, pause: float) -> None:
        self.trouble = trouble
        self._not_before = time.monotonic() + pause
        self._listed.set()
        if trouble and self.at is None:
            self._listed.clear()
        if self._end is not None:
            self._end.set()
        self._end = None


def note(index: QueueIndex, view: QueueView, ids: Sequence[QueueId]) -> None:
    """Take over the present state of messages that were just changed."""
    waiting = iter(ids)
    while part := list(islice(waiting, _AT_ONCE)):
        listing = list(view.listing(ids=part))
        index.take_some(part, listing, view.entries(listing))
