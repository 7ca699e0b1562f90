"""The messages that wait until one server can be used again."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from emailrelay.queue_id import QueueId

MOST = 10_000
"""The messages remembered for one server; about a megabyte."""


class Recall(NamedTuple):
    """The mail to make due when a server is back."""

    messages: Sequence[QueueId]
    more: bool = False
    """True: others wait as well, too many to be remembered."""


OnRecovery: TypeAlias = Callable[[Recall], None]
"""Called when mail that was turned away may come again."""


class WaitingMail:
    """Remembers the messages, the first ones first.

    A server that works by turns must not make other mail due: that would be tried again and again.
    """

    def __init__(self) -> None:
        """Begin empty."""
        self._messages: dict[QueueId, None] = {}
        self._more = False

    def add(self, message: QueueId) -> None:
        """Remember a message, if there is room."""
        if len(self._messages) < MOST or message in self._messages:
            self._messages[message] = None
        else:
            self._more = True

    def discard(self, message: QueueId) -> None:
        """Forget a message: another server has answered for it, or it is gone."""
        self._messages.pop(message, None)

    def take(self) -> Recall:
        """Return all messages, and forget them."""
        recall = Recall(tuple(self._messages), self._more)
        self._messages, self._more = {}, False
        return recall
