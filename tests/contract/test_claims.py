"""A claim is the sole right to work on one message, and falling out of it changes nothing."""

import asyncio

import pytest
from tests.contract.mail import (
    PATIENCE,
    Opener,
    background,
    can_claim,
    claimed,
    content_of,
    history_of,
    listed,
    next_of,
    put,
    stages,
)

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.feed import Feed


async def test_claimed_message_cannot_be_claimed_again(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await put(store)
        async with await claimed(store, message):
            assert not await can_claim(store, message)
            assert not await can_claim(other, message)


async def test_claimed_message_is_still_listed_and_described(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await stages(other) == {message: Stage.READY}
            assert await other.describe(message) == (Stage.READY, claim.envelope, claim.history)


async def test_falling_out_of_the_block_frees_the_message(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await put(store, b"still here")
        before = await history_of(store, message)

        async def deliver() -> None:
            async with await claimed(store, message):
                raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            await deliver()
        async with await claimed(other, message) as claim:
            assert await content_of(claim) == b"still here"
            assert claim.history == before


async def test_release_after_settling_does_nothing(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
            await claim.release()
        assert await listed(store) == {}


async def test_message_is_claimed_at_its_own_stage_only(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, stage=Stage.UNFILTERED)
        assert not await can_claim(store, message, Stage.READY)
        assert await can_claim(store, message, Stage.UNFILTERED)


@pytest.mark.parametrize("name", ["1700000000000.1.1", "1.2.3", "nothing"])
async def test_unknown_message_cannot_be_claimed(opener: Opener, name: str) -> None:
    async with opener() as store:
        await put(store)
        assert not await can_claim(store, QueueId(name))
        assert await store.describe(QueueId(name)) is None


async def test_each_of_many_messages_is_claimed_once_by_competing_feeds(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        messages = await asyncio.gather(*(put(store, b"%d" % n) for n in range(200)))
        taken: list[QueueId] = []
        settled: list[QueueId] = []
        finished = asyncio.Event()

        async def work(feed: Feed) -> None:
            while True:
                async with await feed.claim() as claim:
                    taken.append(claim.id)
                    await asyncio.sleep(0)  # let the others try for the same message
                    await claim.settle(Done())
                    settled.append(claim.id)
                if len(settled) >= len(messages):
                    finished.set()

        async with store.feed(Stage.READY) as one, other.feed(Stage.READY) as two:
            workers = [asyncio.create_task(work(feed)) for feed in (one, two, one, two)]
            async with background(*workers), asyncio.timeout(PATIENCE):
                await finished.wait()
        assert sorted(taken) == sorted(messages)
        assert await listed(store) == {}


async def test_released_message_comes_back_through_the_feed(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        async with store.feed(Stage.READY) as feed:
            for _ in range(3):
                async with await next_of(feed) as claim:
                    assert claim.id == message
