"""Clients that wait for filters or delivery of their message (``ack`` other than ``stored``)."""

import time

from emailrelay.ack import Ack
from emailrelay.queue_id import QueueId
from emailrelay.store.spool.message import delivery_wait, filter_wait
from emailrelay.store.spool.message.client_wait import Wait, Waiter
from emailrelay.store.spool.message.delivery_wait import DeliveryWaiter
from emailrelay.store.spool.message.filter_wait import FilterWaiter
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake.answer_socket import AnswerSocket
from emailrelay.store.spool.wake.handing import Links

_LOOK = 1.0
"""Seconds between two looks whether the socket still has its name."""


class Waiters:
    """All waits of this process, and its socket for answers."""

    def __init__(self, spool: Spool) -> None:
        """Nothing is opened before the first client waits."""
        self._spool = spool
        self._waiting: dict[QueueId, Waiter] = {}
        self._socket = AnswerSocket(spool.directories.wake, str(spool.ids.process), self._told)
        self._next_look = 0.0
        self.links = Links(spool.directories.wake, self._receive)
        """The forwarders that get messages without files."""

    def expect(self, message: QueueId, ack: Ack) -> Waiter:
        """Announce, before the commit, that a client waits for this message.

        Raises:
            OSError: it cannot be announced.

        """
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + _LOOK
            if not self._socket.is_open or self._socket.is_lost():
                self._socket.open()
        waiter: Waiter
        if ack is Ack.DELIVERED:
            waiter = DeliveryWaiter(self._spool, message, self._receive)
        else:
            path = self._spool.directories.waiting / message
            waiter = FilterWaiter(path, self._socket.name)
        self._waiting[message] = waiter
        return waiter

    def _receive(self) -> None:
        for _ in range(2):  # a socket holds twice as many as it gives in one turn of the loop
            self._socket.receive()

    def _told(self, message: QueueId, answer: str) -> None:
        waiter = self._waiting.get(message)
        if waiter is not None:
            waiter.told(answer)

    def end(self, message: QueueId) -> None:
        """Forget a client that was answered or has given up."""
        waiter = self._waiting.pop(message, None)
        if waiter is not None:
            waiter.close()

    def close(self) -> None:
        """End all waits."""
        for message in list(self._waiting):
            self.end(message)
        self.links.close()
        self._socket.close()


def look_for(spool: Spool, message: QueueId, ack: Ack) -> Wait | None:
    """Look for a living client who waits for a message as its journal says."""
    if ack is Ack.DELIVERED:
        return delivery_wait.look_for(spool, message)
    return filter_wait.look_for(spool, message)
