"""The feed of a memory store, which looks at the mail itself."""

from collections.abc import Callable, Collection

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.claim import Claim
from emailrelay.store.feed import Feed
from emailrelay.store.memory.mail import MemoryMail


class MemoryFeed(Feed):
    """See ``Feed``. It looks at the mail itself, and needs no dispatcher."""

    def __init__(
        self, store: Store, mail: MemoryMail, clock: Callable[[], float], stage: Stage
    ) -> None:
        self._store, self._mail, self._clock, self._stage = store, mail, clock, stage

    def wake(self) -> None:
        """See ``Feed.wake``."""
        self._mail.wake(self._stage)

    def recall(self, messages: Collection[QueueId]) -> None:
        """See ``Feed.recall``."""
        self._mail.wake(self._stage, messages)

    async def claim(self) -> Claim:
        """See ``Feed.claim``."""
        while True:
            for kept, wait in list(self._mail.free(self._stage, self._clock())):
                if wait <= 0:
                    claim = await self._store.claim(self._stage, kept.id, due_only=False)
                    if claim is not None:
                        return claim
            await self._mail.change(self._mail.pause(self._stage, self._clock()))
