"""A feed gives the due messages, oldest first, and notices new ones."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from tests.contract.mail import (
    PATIENCE,
    Clock,
    Opener,
    attempt,
    background,
    claimed,
    listed,
    next_of,
    put,
)

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.feed import Feed
from emailrelay.store.hint_channel import HintChannel


@pytest.fixture(params=["first", "stands-by"])
def hints(request: pytest.FixtureRequest) -> Iterator[HintChannel]:
    """Give the channel of a dispatcher, for its first worker or one that stands by."""
    channel = HintChannel()
    if request.param == "stands-by":
        channel.stand_by()
    yield channel
    channel.close()


async def _done(feed: Feed) -> QueueId:
    async with await next_of(feed) as claim:
        await claim.settle(Done())
    return claim.id


async def test_feed_gives_what_was_there_before_it_oldest_first(opener: Opener) -> None:
    async with opener() as store:
        messages = [await put(store) for _ in range(30)]
        async with opener() as other, other.feed(Stage.READY) as feed:
            assert [await _done(feed) for _ in messages] == messages


async def test_feed_gives_messages_of_its_stage_only(opener: Opener) -> None:
    async with opener() as store:
        await put(store, stage=Stage.UNFILTERED)
        async with store.feed(Stage.READY) as feed:
            await put(store, stage=Stage.UNFILTERED)
            ready = await put(store)
            assert await _done(feed) == ready


@pytest.mark.parametrize("stage", [Stage.READY, Stage.UNFILTERED])
async def test_waiting_feed_notices_a_commit_by_itself_and_by_another_opener(
    opener: Opener, stage: Stage
) -> None:
    async with opener() as store, opener() as other, store.feed(stage) as feed:
        for committer in (store, other, store, other):
            waiting = asyncio.create_task(next_of(feed))
            await asyncio.sleep(0)
            message = await put(committer, stage=stage)
            async with await waiting as claim:
                assert claim.id == message
                await claim.settle(Done())


async def test_waiting_feed_notices_a_pass_by_another_opener(opener: Opener) -> None:
    async with opener() as store, opener() as other, store.feed(Stage.READY) as feed:
        message = await put(other, stage=Stage.UNFILTERED)
        waiting = asyncio.create_task(next_of(feed))
        async with await claimed(other, message, Stage.UNFILTERED) as claim:
            await claim.settle(Pass())
        async with await waiting as claim:
            assert claim.id == message


async def test_any_number_of_tasks_may_wait_at_one_feed(opener: Opener) -> None:
    async with opener() as store, store.feed(Stage.READY) as feed:
        waiting = [asyncio.create_task(_done(feed)) for _ in range(10)]
        await asyncio.sleep(0)
        messages = [await put(store) for _ in waiting]
        assert sorted(await asyncio.gather(*waiting)) == sorted(messages)


async def _settled_after_a_cancelled_wait(feed: Feed, other: Store, steps: int) -> None:
    """Cancel a wait some steps after a message came, and settle the message."""
    waiting = asyncio.create_task(feed.claim())
    await asyncio.sleep(0)
    message = await put(other)
    for _ in range(steps):
        await asyncio.sleep(0)
    waiting.cancel()
    (end,) = await asyncio.gather(waiting, return_exceptions=True)
    if isinstance(end, BaseException):
        assert isinstance(end, asyncio.CancelledError)
        end = await next_of(feed)
    async with end as claim:
        assert claim.id == message
        await claim.settle(Done())


@pytest.mark.parametrize("steps", range(6))
async def test_cancelled_wait_loses_nothing(opener: Opener, steps: int) -> None:
    async with opener() as store, opener() as other, store.feed(Stage.READY) as feed:
        for _ in range(5):
            await _settled_after_a_cancelled_wait(feed, other, steps)
        assert await listed(store) == {}


async def test_left_feed_takes_nothing_with_it(opener: Opener) -> None:
    async with opener() as store:
        messages = [await put(store) for _ in range(5)]
        async with store.feed(Stage.READY) as feed:
            first = await _done(feed)
        async with store.feed(Stage.READY) as feed:
            assert [first, *[await _done(feed) for _ in messages[1:]]] == messages


async def test_deferred_message_does_not_hold_up_the_others(opener: Opener) -> None:
    async with opener() as store, store.feed(Stage.READY) as feed:
        first, second = await put(store), await put(store)
        async with await next_of(feed) as claim:
            assert claim.id == first
            now = time.time()
            await claim.settle(Defer(attempt(now, next_attempt=now + 1000)))
        assert await _done(feed) == second
        third = await put(store)
        assert await _done(feed) == third


async def test_dispatcher_hands_each_message_to_one_of_the_feeds(
    opener: Opener, hints: HintChannel
) -> None:
    async with AsyncExitStack() as stack:
        dispatcher, committer = [await stack.enter_async_context(opener()) for _ in range(2)]
        feeds: list[Feed] = []
        for _ in range(2):
            store = await stack.enter_async_context(opener())
            feeds.append(await stack.enter_async_context(store.feed(Stage.READY, hints=hints)))
        before = [await put(committer) for _ in range(20)]
        dispatching = asyncio.create_task(dispatcher.dispatch(Stage.READY, hints, asyncio.Event()))
        async with background(dispatching), asyncio.timeout(PATIENCE):
            taken = [await _done(feed) for feed in feeds * 10]
            waiting = [asyncio.create_task(_done(feed)) for feed in feeds * 10]
            after = [await put(committer) for _ in waiting]
            taken += await asyncio.gather(*waiting)
        assert sorted(taken) == sorted(before + after)
        assert await listed(committer) == {}


async def test_dispatcher_hands_out_a_deferred_message_when_it_is_due(
    opener: Opener, hints: HintChannel
) -> None:
    async with opener() as dispatcher, opener() as store:
        dispatching = asyncio.create_task(dispatcher.dispatch(Stage.READY, hints, asyncio.Event()))
        async with background(dispatching), store.feed(Stage.READY, hints=hints) as feed:
            message = await put(store)
            due = time.time() + 0.3
            async with await next_of(feed) as claim:
                await claim.settle(Defer(attempt(time.time(), next_attempt=due)))
            assert await _done(feed) == message
            assert time.time() >= due


@pytest.mark.parametrize("steps", range(4))
async def test_cancelled_wait_for_a_hint_loses_nothing(
    opener: Opener, hints: HintChannel, steps: int
) -> None:
    async with opener() as dispatcher, opener() as store:
        dispatching = asyncio.create_task(dispatcher.dispatch(Stage.READY, hints, asyncio.Event()))
        async with background(dispatching), store.feed(Stage.READY, hints=hints) as feed:
            for _ in range(5):
                await _settled_after_a_cancelled_wait(feed, store, steps)


async def test_waking_the_dispatcher_makes_deferred_messages_due(
    opener: Opener, hints: HintChannel
) -> None:
    woken = asyncio.Event()
    async with opener() as dispatcher, opener() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            later = time.time() + 1000
            await claim.settle(Defer(attempt(time.time(), next_attempt=later)))
        dispatching = asyncio.create_task(dispatcher.dispatch(Stage.READY, hints, woken))
        async with background(dispatching), store.feed(Stage.READY, hints=hints) as feed:
            claiming = asyncio.create_task(next_of(feed))
            woken.set()
            async with await claiming as claim:
                assert claim.id == message


async def _put_off(store: Store) -> QueueId:
    """Put a message into the store, and defer it for long."""
    message = await put(store)
    async with await claimed(store, message) as claim:
        now = time.time()
        await claim.settle(Defer(attempt(now, next_attempt=now + 1000)))
    return message


async def test_recall_makes_the_named_messages_due_and_no_others(opener: Opener) -> None:
    async with opener() as store, store.feed(Stage.READY) as feed:
        first, other, second = [await _put_off(store) for _ in range(3)]
        gone, held = await put(store), await put(store)
        async with await claimed(store, gone) as claim:
            await claim.settle(Done())
        async with await claimed(store, held):
            feed.recall([first, gone, held, second])
            assert {await _done(feed), await _done(feed)} == {first, second}
            fresh = await put(store)
            assert await _done(feed) == fresh
        assert await _done(feed) == held
        assert set(await listed(store)) == {other}


async def test_recall_by_one_feed_of_a_pool_goes_to_all_of_them(
    opener: Opener, hints: HintChannel
) -> None:
    async with opener() as dispatcher, opener() as store:
        messages = [await _put_off(store) for _ in range(100)]
        dispatching = asyncio.create_task(dispatcher.dispatch(Stage.READY, hints, asyncio.Event()))
        async with background(dispatching), store.feed(Stage.READY, hints=hints) as feed:
            feed.recall(messages[1:])
            recalled = {await _done(feed) for _ in messages[1:]}
            assert recalled == set(messages[1:])
            assert set(await listed(store)) == {messages[0]}


@pytest.mark.parametrize("back", [3600.0, 12 * 3600.0])
async def test_clock_set_back_holds_no_mail_up(opener: Opener, back: float) -> None:
    clock = Clock()
    async with opener(clock) as store:
        deferred, fresh = await put(store), await put(store)
        async with await claimed(store, deferred) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 60)))
        clock.now -= back
        async with store.feed(Stage.READY) as feed:
            found = set[QueueId]()
            for _ in range(2):
                async with await next_of(feed) as claim:
                    found.add(claim.id)
                    await claim.settle(Done())
        assert found == {deferred, fresh}
