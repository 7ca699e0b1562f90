"""Moves mail from one store into another, each message once by its id, while services run.

Each step is durable before the next one begins, and can be made again after a crash:

1. The source sets the message aside (HELD, ``Moving``). No service works on it there any more.
2. The target takes it over, set aside as well, with the same id, journal and content.
3. The source removes it.
4. The target lets it go on at the stage where it was, with the schedule that it had.

Guarantee: at any time, at most one of the two stores works on the message, and at least one has it.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field

from emailrelay.ack import Ack
from emailrelay.errors import DamagedMessage, RelayError, StoreError
from emailrelay.journal import AdministratorWish, History, Moving
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store import moved_journal
from emailrelay.store.base import Store
from emailrelay.store.claim import Claim

_AT_ONCE = 16
"""Messages that are moved at the same time."""
_STOPPING = 3.0
"""Seconds that a stop leaves a message whose last steps are under way: the source has removed it,
and the target does not work on it yet."""


@dataclass(slots=True, kw_only=True)
class Mover:
    """A move of all messages from ``source`` to ``target``.

    ``origin`` names the source in the target: the same text for each try, and for no other source.
    ``once``: ids that the target has seen leave do not come back to it, unless they were moved into
    the source from there or elsewhere: the source has the only copy then.
    """

    source: Store
    target: Store
    origin: str
    clock: Callable[[], float]
    once: bool = False
    moved: int = 0
    left: dict[QueueId, str] = field(default_factory=dict[QueueId, str])
    """The messages that were not moved, each with the reason."""

    async def run(self, step: Callable[[], None] = lambda: None) -> None:
        """Move the messages that are there now; call ``step`` after each.

        Raises:
            StoreError: a store cannot be read now.

        """
        await self.finish_earlier()
        await self.move(step)

    async def move(self, step: Callable[[], None] = lambda: None) -> None:
        """Move the messages that are there now, without a look at earlier tries; see ``run``."""
        waiting = [listed.id async for listed in self.source.listing()]
        waiting.sort(reverse=True)  # the oldest is popped first
        self.left.clear()

        async def work() -> None:
            while waiting:
                await self._move_one(waiting.pop())
                step()

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(waiting))):
                group.create_task(work())

    async def finish_earlier(self) -> None:
        """Make the last step for messages of an earlier try, which died before it.

        Raises:
            StoreError: a store cannot be read now, or a message cannot be finished now; the others
                were.

        """
        trouble: StoreError | None = None
        async for listed in self.target.listing((Stage.HELD,)):
            try:
                found = await self.target.describe(listed.id)
                moving = None if found is None else found[2].moving
                if moving is None or moving.origin != self.origin:
                    continue
                if await self.source.describe(listed.id) is None:
                    await self.target.wish(listed.id, AdministratorWish.ARRIVE)
            except DamagedMessage:
                continue  # it is not a message of ours: we write whole ones
            except StoreError as error:
                trouble = error
        if trouble is not None:
            raise trouble

    async def _move_one(self, message: QueueId) -> None:
        try:
            reason = await self._move(message)
        except RelayError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - a bug with one message must not stop the others
            reason = f"internal error: {error!r}"
        if reason is None:
            self.moved += 1
        elif reason:
            self.left[message] = reason

    async def _move(self, message: QueueId) -> str | None:
        """Move a message; return None, or the reason why it stays; empty: it has left by itself."""
        found = await self.source.describe(message)
        if found is None:
            return ""
        stage, _, history = found
        if stage is not Stage.HELD or history.moving is None:
            reason = await self._reason_to_stay(message, stage, history)
            if reason is not None:
                return reason
            if not await self.source.wish(message, AdministratorWish.MOVE):
                return ""
        claim = await self.source.claim(Stage.HELD, message, due_only=False)
        if claim is None:
            return "" if await self.source.describe(message) is None else "it is being worked on"
        async with claim:
            moving = claim.history.moving
            if moving is None:
                return "an operator has set it aside meanwhile"
            await self._hand_over(claim, moving)
            await _to_the_end(self._let_go(claim))
        return None

    async def _let_go(self, claim: Claim) -> None:
        await claim.settle(Done(end=MessageEnd.MOVED))
        await self.target.wish(claim.id, AdministratorWish.ARRIVE)

    async def _reason_to_stay(self, message: QueueId, stage: Stage, history: History) -> str | None:
        if history.ack is Ack.DELIVERED:
            return "its client waits for the reply of the next server"
        if not self._once(history) and await self.target.describe(message) is not None:
            return "the other store has a message with this id; delete one of the two"
        if stage is Stage.FAILED and history.notified:
            failure = await self.source.failure(message)
            if failure is None:
                return "a notice about it is being sent"
            async with failure:
                if await failure.prepared() is not None:
                    return "a notice about it is not sent yet; run: emailrelay-notify"
        return None

    async def _hand_over(self, claim: Claim, moving: Moving) -> None:
        length, crc32 = await _measured(claim)
        expected = (claim.history.length, claim.history.crc32)
        if not claim.history.released and expected not in ((None, None), (length, crc32)):
            raise StoreError(
                f"move {claim.id}", "its content is damaged; run: emailrelay-queue verify"
            )
        entries = moved_journal.entries(
            claim.history,
            length=length,
            crc32=crc32,
            moving=Moving(at=self.clock(), stage=moving.stage, origin=self.origin),
        )
        content: AsyncIterator[bytes] = claim.content()
        await self.target.adopt(
            claim.id, claim.envelope, entries, content, once=self._once(claim.history)
        )

    def _once(self, history: History) -> bool:
        return self.once and not history.origin


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Do some work; a call that is cancelled still gives it ``_STOPPING`` seconds."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=_STOPPING)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise


async def _measured(claim: Claim) -> tuple[int, int]:
    length = crc32 = 0
    async for chunk in claim.content():
        length, crc32 = length + len(chunk), zlib.crc32(chunk, crc32)
    return length, crc32
