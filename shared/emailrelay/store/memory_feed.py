"""How the memory store's messages reach whoever waits for them."""

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol, Self

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import Claim, Feed
from emailrelay.store.hint_channel import Hint, HintChannel
from emailrelay.store.memory_mail import MemoryMail


class ClaimNow(Protocol):
    """Claims a message in one step, or gives None."""

    def __call__(self, stage: Stage, message: QueueId, *, due_only: bool) -> Claim | None:
        """See ``Store.claim``."""
        ...


async def dispatch(
    mail: MemoryMail,
    clock: Callable[[], float],
    stage: Stage,
    hints: HintChannel,
    woken: asyncio.Event,
) -> None:
    """See ``Store.dispatch``."""
    told: dict[QueueId, int] = {}
    watching = asyncio.create_task(_ring_when(woken, mail))
    try:
        while True:
            forced = woken.is_set()
            woken.clear()
            for kept, wait in list(mail.free(stage, clock())):
                if forced or (wait <= 0 and told.get(kept.id) != kept.turn):
                    told[kept.id] = kept.turn
                    await hints.send(Hint(kept.id, forced))
            told = {message: turn for message, turn in told.items() if message in mail.kept}
            await mail.change(mail.pause(stage, clock()))
    finally:
        watching.cancel()


async def _ring_when(woken: asyncio.Event, mail: MemoryMail) -> None:
    while True:
        await woken.wait()
        mail.ring()
        await asyncio.sleep(0)  # whoever was rung clears it


class MemoryFeed(Feed):
    """See ``Feed``. Without hints it looks at the mail itself."""

    def __init__(
        self,
        mail: MemoryMail,
        clock: Callable[[], float],
        stage: Stage,
        hints: HintChannel | None,
        claim: ClaimNow,
    ) -> None:
        self._mail, self._clock, self._stage = mail, clock, stage
        self._claim_now = claim
        self._hints = hints
        self._woken: set[QueueId] = set()

    async def __aenter__(self) -> Self:
        """See ``Feed``."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """See ``Feed``."""

    def wake(self) -> None:
        """See ``Feed``."""
        free = self._mail.free(self._stage, self._clock())
        self._woken.update(kept.id for kept, _ in free)
        self._mail.ring()

    def all_heard(self) -> bool:
        """See ``Feed``. Nothing can be missed here."""
        return True

    def look(self) -> None:
        """See ``Feed``. Nothing can be here unheard."""

    async def claim(self) -> Claim:
        """See ``Feed``."""
        while True:
            if claim := self._claim_next():
                return claim
            if self._hints is None:
                await self._mail.change(self._mail.pause(self._stage, self._clock()))
            elif claim := self._claim_hinted(await self._hints.receive()):
                return claim

    def _claim_hinted(self, hint: Hint) -> Claim | None:
        return self._claim_now(self._stage, hint.message, due_only=not hint.forced)

    def _claim_next(self) -> Claim | None:
        for message in self._candidates():
            due_only = message not in self._woken
            self._woken.discard(message)
            claim = self._claim_now(self._stage, message, due_only=due_only)
            if claim is not None:
                return claim
        return None

    def _candidates(self) -> Iterator[QueueId]:
        yield from sorted(self._woken, key=list(self._mail.kept).index)
        if self._hints is None:
            free = self._mail.free(self._stage, self._clock())
            yield from [kept.id for kept, wait in free if wait <= 0]
