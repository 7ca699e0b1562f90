"""Cancelled at any await, a claim and a draft leave the message whole, free, and in one place."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import (
    ANN,
    BOB,
    CAT,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    PATIENCE,
    attempt,
    content_of,
    put,
    stages,
)

from emailrelay.ack import Ack
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.base import Store

ORIGINAL, FILTERED = b"Subject: original\r\n\r\n", b"Subject: filtered\r\n\r\n"
MOMENTS = 25
"""Places of each scenario at which it is cancelled, spread evenly over its turns of the loop."""
LONGEST = 100_000

Scenario: TypeAlias = Callable[[Store, QueueId], Awaitable[None]]


def settle(settlement: Settlement, stage: Stage = Stage.READY, *, edit: bool = False) -> Scenario:
    async def scenario(store: Store, message: QueueId) -> None:
        claim = await store.claim(stage, message, due_only=False)
        assert claim is not None
        async with claim:
            if stage is Stage.UNFILTERED:
                copy = await claim.work_copy("new")
                if edit:
                    copy.content.write_bytes(FILTERED)
            else:
                assert await claim.before_dot("peer")
            await claim.settle(settlement)

    return scenario


PARTLY = attempt(1.0, next_attempt=2.0, ann=OK, bob=LATER)
SCENARIOS: dict[str, tuple[Stage, Scenario, set[Stage | None]]] = {
    "done": (Stage.READY, settle(Done()), {Stage.READY, None}),
    "defer": (Stage.READY, settle(Defer(PARTLY)), {Stage.READY}),
    "fail": (Stage.READY, settle(Fail(NEVER, PARTLY)), {Stage.READY, Stage.FAILED}),
    "hold": (Stage.READY, settle(Hold()), {Stage.READY, Stage.HELD}),
    "pass": (
        Stage.UNFILTERED,
        settle(Pass(), Stage.UNFILTERED),
        {Stage.UNFILTERED, Stage.READY},
    ),
    "adopt": (
        Stage.UNFILTERED,
        settle(Pass(), Stage.UNFILTERED, edit=True),
        {Stage.UNFILTERED, Stage.READY},
    ),
}


async def turns_of(work: Awaitable[None], most: int) -> int:
    """Cancel ``work`` after this many turns of the loop; return the number of its turns."""
    task = asyncio.ensure_future(work)
    turns = 0
    while not task.done() and turns < most:
        await asyncio.sleep(0)
        turns += 1
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()
    return turns


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@asynccontextmanager
async def no_leak() -> AsyncGenerator[None]:
    """Check that there are as many descriptors as before; threads may be a moment late."""
    before = descriptors()
    yield
    async with asyncio.timeout(PATIENCE):
        while descriptors() > before:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)


async def warm_up(store: Store) -> None:
    """Open everything that is opened once."""
    claim = await store.claim(Stage.READY, await put(store))
    assert claim is not None
    async with claim:
        assert await claim.before_dot("peer")
        await claim.settle(Done())


@pytest.mark.parametrize("name", SCENARIOS)
async def test_settlement_may_be_cancelled_anywhere(
    spool: SpoolOpener, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, scenario, ends = SCENARIOS[name]
    async with spool() as store:
        await warm_up(store)
        whole = await turns_of(scenario(store, await put(store, ORIGINAL, stage)), LONGEST)
        for moment in range(MOMENTS):
            message = await put(store, ORIGINAL, stage)
            async with no_leak():
                await turns_of(scenario(store, message), 1 + whole * moment // MOMENTS)
            now = (await stages(store)).get(message)
            assert now in ends, f"after {moment}"
            if now is Stage.UNFILTERED or now is Stage.READY:
                claim = await store.claim(now, message, due_only=False)
                if claim is None:  # its adoption had begun and was finished just now
                    claim = await store.claim(Stage.READY, message, due_only=False)
                assert claim is not None, f"not free after {moment}"
                async with claim:
                    assert not claim.history.released, f"neither failed nor held after {moment}"
                    assert await content_of(claim) in (ORIGINAL, FILTERED)
                    pending = claim.history.pending(claim.envelope)
                    assert pending in ((ANN, BOB, CAT), (BOB, CAT))
    # The store would be open before a slow sweep has ended.
    monkeypatch.setattr("emailrelay.store.spool.store._PATIENCE", PATIENCE)
    async with spool():
        assert list((spool.directory / ".work").iterdir()) == []
        assert list((spool.directory / ".new").iterdir()) == []


@pytest.mark.parametrize("ack", [Ack.FILTERED, Ack.DELIVERED])
async def test_wait_for_an_answer_may_be_cancelled_anywhere(spool: SpoolOpener, ack: Ack) -> None:
    drafted: list[QueueId] = []

    async def wait(store: Store) -> None:
        async with store.draft(ENVELOPE) as draft:
            drafted.append(draft.id)
            draft.write(ORIGINAL)
            await draft.commit(Stage.UNFILTERED, ack)
            await draft.answer(0.01)

    async with spool() as store:
        await warm_up(store)
        await wait(store)
        whole = await turns_of(wait(store), LONGEST)
        for moment in range(MOMENTS):
            async with no_leak():
                await turns_of(wait(store), 1 + whole * moment // MOMENTS)
        await put(store)  # its commit comes after all others
        kept = await stages(store)
        assert [m for m in drafted if ack is Ack.DELIVERED and m in kept] == []
        for message in drafted:
            if message in kept:
                claim = await store.claim(Stage.UNFILTERED, message)
                assert claim is not None
                async with claim:
                    assert claim.ack is Ack.STORED
    assert list((spool.directory / ".waiting").iterdir()) == []
    assert list((spool.directory / ".new").iterdir()) == []
