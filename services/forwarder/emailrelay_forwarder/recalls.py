"""Makes the mail due that waits for a server which can be used again."""

import asyncio
from collections.abc import Callable

from emailrelay.store.feed import Feed
from emailrelay_forwarder.server.waiting_mail import Recall

REST = 600.0
"""The fewest seconds between two calls of ``wake``, which makes mail for other servers due, too."""


class Recalls:
    """Makes messages of ``feed`` due.

    ``wake`` makes all deferred mail due; it is called if a server has more mail than is remembered.
    """

    def __init__(self, feed: Feed, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._feed = feed
        self._wake = wake
        self._next = 0.0
        """The loop's time from which ``wake`` may be called again."""
        self._timer: asyncio.TimerHandle | None = None

    def make_due(self, recall: Recall) -> None:
        """Make the mail due: the messages that are remembered now, others now or later."""
        if recall.messages:
            self._feed.recall(recall.messages)
        if recall.more and self._timer is None:
            self._timer = self._loop.call_at(self._next, self._wake_all)

    def close(self) -> None:
        """Make no more mail due."""
        if self._timer is not None:
            self._timer.cancel()

    def _wake_all(self) -> None:
        self._timer, self._next = None, self._loop.time() + REST
        self._wake()
