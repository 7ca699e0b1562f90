"""The feed of the memory store: it looks at the mail itself, and needs no dispatcher."""

from collections.abc import Callable
from typing import Protocol

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Claim, Feed
from emailrelay.store.memory_mail import MemoryMail


class ClaimNow(Protocol):
    """Claims a message in one step, or returns None."""

    def __call__(self, stage: Stage, message: QueueId, *, due_only: bool) -> Claim | None:
        """See ``Store.claim``."""
        ...


class MemoryFeed(Feed):
    """See ``Feed``."""

    def __init__(
        self, mail: MemoryMail, clock: Callable[[], float], stage: Stage, claim: ClaimNow
    ) -> None:
        self._mail, self._clock, self._stage = mail, clock, stage
        self._claim_now = claim

    def wake(self) -> None:
        """See ``Feed.wake``."""
        self._mail.wake(self._stage)

    async def claim(self) -> Claim:
        """See ``Feed.claim``."""
        while True:
            for kept, wait in list(self._mail.free(self._stage, self._clock())):
                if wait <= 0 and (claim := self._claim_now(self._stage, kept.id, due_only=False)):
                    return claim
            await self._mail.change(self._mail.pause(self._stage, self._clock()))
