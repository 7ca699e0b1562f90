"""The feed of a store: the due messages of one stage, each given to one who waits (``base``)."""

from abc import ABC, abstractmethod
from collections.abc import Collection
from typing import Self

from emailrelay.queue_id import QueueId
from emailrelay.store.claim import Claim


class Feed(ABC):
    """The messages due at one stage, oldest first. The end of its block ends the watch."""

    @abstractmethod
    async def claim(self) -> Claim:
        """Wait for the next message that is due, and claim it.

        Any number of tasks may wait at once. A cancelled call claims nothing.

        Raises:
            StoreError: the store cannot be asked now.

        """

    @abstractmethod
    def wake(self) -> None:
        """Make every deferred message due now (the operator's flush, a network that came back)."""

    @abstractmethod
    def recall(self, messages: Collection[QueueId]) -> None:
        """Make these messages due now, if they are deferred: their server is back.

        A message that is claimed or gone is left out. If this is lost (this process dies, the store
        cannot be asked), the messages are due at their own times.
        """

    def all_heard(self) -> bool:
        """Repeat announcements that a busy feed missed; return whether all feeds know all now.

        This default suits a store that needs no announcements.
        """
        return True

    def look(self) -> None:  # noqa: B027 - a default
        """Have every feed of the store scan all of it soon: mail came in unannounced.

        This default suits a store that mail cannot enter unannounced.
        """

    def take_no_more(self) -> None:  # noqa: B027 - a default
        """Give back what others could claim: this process claims nothing more.

        This default suits a store that gives no message to one process before its claim.
        """

    async def __aenter__(self) -> Self:
        """Begin the watch, then scan."""
        return self

    async def __aexit__(self, *_: object) -> None:  # noqa: B027 - a default
        """End the watch."""
