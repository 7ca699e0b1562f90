"""Shorthands of the contract tests: put messages into a store and look at them."""

import asyncio
import errno
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import Attempt, History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.base import Listed, Store
from emailrelay.store.claim import Claim
from emailrelay.store.draft import Draft
from emailrelay.store.feed import Feed

PATIENCE = 20.0
"""Seconds after which a test that waits for something has hung."""

ANN, BOB, CAT = Address("ann@x.test"), Address("bob@y.test"), Address("cat@z.test")
ENVELOPE = Envelope(sender=Address("sender@x.test"), to_remote=(ANN, BOB, CAT), client="192.0.2.1")
OK, LATER, NEVER = Reply(250, "2.0.0 ok"), Reply(451, "4.3.0 later"), Reply(550, "5.1.1 nobody")


@dataclass
class Clock:
    """A clock that changes only when a test sets it."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        return self.now


class Opener(Protocol):
    """Makes a store over the same mail each time it is called."""

    reports: list[Event]
    place: str
    """The argument for ``open_store`` in another process, unless the store is in one process."""

    def __call__(self, clock: Callable[[], float] = time.time) -> Store: ...


def descriptors() -> set[str]:
    """Return the open descriptors of this process."""
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def full(*_: object) -> None:
    """Fail as a call to a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def put(
    store: Store,
    content: bytes = b"Subject: x\r\n\r\nx\r\n",
    stage: Stage = Stage.READY,
    envelope: Envelope = ENVELOPE,
) -> QueueId:
    async with store.draft(envelope) as draft:
        draft.write(content)
        await draft.commit(stage)
    return draft.id


async def write(draft: Draft, *chunks: bytes | bytearray | memoryview) -> None:
    """Write as fast as the store takes it."""
    for chunk in chunks:
        if not draft.write(chunk):
            await draft.drain()


async def claimed(store: Store, message: QueueId, stage: Stage = Stage.READY) -> Claim:
    """Claim a message, which must exist."""
    claim = await store.claim(stage, message)
    assert claim is not None
    return claim


async def claimed_soon(store: Store, message: QueueId) -> Claim:
    """Claim a message that the relay itself may be working on for a moment."""
    async with asyncio.timeout(PATIENCE):
        while True:
            claim = await store.claim(Stage.READY, message)
            if claim is not None:
                return claim
            await asyncio.sleep(0.01)


async def can_claim(store: Store, message: QueueId, stage: Stage = Stage.READY) -> bool:
    """Return whether a message can be claimed; release the claim."""
    claim = await store.claim(stage, message)
    if claim is None:
        return False
    await claim.release()
    return True


async def content_of(claim: Claim) -> bytes:
    return b"".join([chunk async for chunk in claim.content()])


async def listed(store: Store, stages: Sequence[Stage] = tuple(Stage)) -> dict[QueueId, Listed]:
    entries = [entry async for entry in store.listing(stages)]
    found = {entry.id: entry for entry in entries}
    assert len(found) == len(entries), "a message is listed twice"
    return found


async def stages(store: Store) -> dict[QueueId, Stage]:
    return {message: entry.stage for message, entry in (await listed(store)).items()}


async def history_of(store: Store, message: QueueId) -> History:
    found = await store.describe(message)
    assert found is not None
    return found[2]


async def next_of(feed: Feed) -> Claim:
    """Wait for a feed's next message; a feed that gives none fails the test."""
    async with asyncio.timeout(PATIENCE):
        return await feed.claim()


@asynccontextmanager
async def background(*works: "asyncio.Task[None]") -> AsyncGenerator[None]:
    """Run beside tasks that never end by themselves; one that fails fails the test."""
    try:
        yield
    finally:
        for work in works:
            work.cancel()
        ends = await asyncio.gather(*works, return_exceptions=True)
    ended = [end for end in ends if not isinstance(end, asyncio.CancelledError)]
    assert not ended, "a task ended by itself"


def attempt(now: float, *, next_attempt: float | None = None, **replies: Reply) -> Attempt:
    """Make an attempt with replies for ``ann``, ``bob`` and ``cat``."""
    names = {"ann": ANN, "bob": BOB, "cat": CAT}
    return Attempt(
        at=now,
        peer="smarthost.test:25",
        replies={names[name]: reply for name, reply in replies.items()},
        next_attempt=next_attempt,
    )
