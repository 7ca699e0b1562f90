"""The number of messages at each stage, and the arrival of the oldest."""

from tests.contract.mail import LATER, Clock, Opener, claimed, put

from emailrelay.journal import Attempt
from emailrelay.queue_id import arrived_at
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import StageTotal

NONE = StageTotal(0, None)


async def test_an_empty_store_has_no_message_at_any_stage(opener: Opener) -> None:
    async with opener() as store:
        assert await store.counts() == dict.fromkeys(Stage, NONE)


async def test_each_stage_has_its_number_and_its_oldest_message(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        first = await put(store)
        clock.now += 60
        await put(store)
        unfiltered = await put(store, stage=Stage.UNFILTERED)
        found = await store.counts()
        assert found[Stage.READY] == StageTotal(2, arrived_at(first))
        assert found[Stage.UNFILTERED] == StageTotal(1, arrived_at(unfiltered))
        assert found[Stage.FAILED] == found[Stage.HELD] == NONE


async def test_a_message_counts_where_it_is(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        held = await put(store)
        await store.hold(held)
        async with await claimed(store, message) as claim:
            # Also while a worker has it.
            assert (await store.counts())[Stage.READY].messages == 1
            attempt = Attempt(at=1.0, peer="p", trouble=LATER, next_attempt=4e9)
            await claim.settle(Defer(attempt))
        found = await store.counts()
        assert (found[Stage.READY].messages, found[Stage.HELD].messages) == (1, 1)
        assert await store.flush(message)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(LATER))
        found = await store.counts()
        assert found[Stage.READY] == NONE
        assert found[Stage.FAILED] == StageTotal(1, arrived_at(message))


async def test_a_message_that_has_left_does_not_count(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
        assert await store.counts() == dict.fromkeys(Stage, NONE)
