"""A claim ends with one settlement, and the store keeps it."""

import time

import pytest
from tests.contract.mail import (
    ANN,
    BOB,
    CAT,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    Clock,
    Opener,
    attempt,
    can_claim,
    claimed,
    content_of,
    history_of,
    listed,
    next_of,
    put,
    stages,
)

from emailrelay.journal import Attempt
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass
from emailrelay.stage import Stage

EARLY = [Stage.UNFILTERED, Stage.READY]


@pytest.mark.parametrize("stage", EARLY)
async def test_done_leaves_nothing(opener: Opener, stage: Stage) -> None:
    async with opener() as store:
        message, kept = await put(store, stage=stage), await put(store, stage=stage)
        async with await claimed(store, message, stage) as claim:
            await claim.settle(Done())
        assert await stages(store) == {kept: stage}
        assert await store.describe(message) is None
        assert not await can_claim(store, message, stage)


@pytest.mark.parametrize("stage", EARLY)
async def test_deferred_message_is_claimed_at_its_time_and_not_before(
    opener: Opener, stage: Stage
) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other:
        message = await put(store, stage=stage)
        async with await claimed(store, message, stage) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100, ann=LATER)))
        assert await stages(other) == {message: stage}
        for viewer in (store, other):
            assert not await can_claim(viewer, message, stage)
        clock.now += 99
        assert not await can_claim(other, message, stage)
        clock.now += 2
        for viewer in (store, other):
            assert await can_claim(viewer, message, stage)


async def test_deferred_message_can_be_claimed_early_on_demand(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100)))
        early = await store.claim(Stage.READY, message, due_only=False)
        assert early is not None
        await early.release()


async def test_listing_tells_when_a_deferred_message_is_due(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100)))
        assert (await listed(store))[message].since == pytest.approx(clock.now + 100, abs=1)


async def test_feed_gives_a_deferred_message_when_its_time_comes(opener: Opener) -> None:
    async with opener() as store, store.feed(Stage.READY) as feed:
        message = await put(store)
        due = time.time() + 0.3
        async with await next_of(feed) as claim:
            await claim.settle(Defer(attempt(time.time(), next_attempt=due)))
        async with await next_of(feed) as claim:
            assert claim.id == message
            assert time.time() >= due


async def test_wake_makes_deferred_messages_due(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        async with store.feed(Stage.READY) as feed:
            for turn in range(3):
                async with await next_of(feed) as claim:
                    assert claim.id == message
                    assert claim.history.attempts == turn
                    now = time.time()
                    await claim.settle(Defer(attempt(now, next_attempt=now + 1000)))
                feed.wake()


async def test_delivered_recipients_stay_delivered(opener: Opener) -> None:
    clock = Clock()
    tries = [
        attempt(clock.now, next_attempt=clock.now, ann=OK, bob=LATER, cat=LATER),
        attempt(clock.now, next_attempt=clock.now, bob=LATER, cat=NEVER),
        Attempt(at=clock.now, peer="away.test:25", trouble=LATER, next_attempt=clock.now),
    ]
    pending = [(ANN, BOB, CAT), (BOB, CAT), (BOB,), (BOB,)]
    async with opener(clock) as store:
        message = await put(store)
        for turn, one in enumerate(tries):
            async with await claimed(store, message) as claim:
                assert claim.history.pending(ENVELOPE) == pending[turn]
                await claim.settle(Defer(one))
    async with opener(clock) as other, await claimed(other, message) as claim:
        assert claim.history.pending(ENVELOPE) == pending[-1]
        assert claim.history.delivered == {ANN: OK}
        assert claim.history.refused == {CAT: NEVER}
        assert claim.history.attempts == len(tries)
        assert claim.history.last_attempt == tries[-1]
        assert claim.envelope == ENVELOPE


@pytest.mark.parametrize("stage", EARLY)
async def test_failed_message_is_kept_with_reason_and_code(opener: Opener, stage: Stage) -> None:
    clock = Clock()
    reason = Reply(554, "5.4.7 gave up: ünreachable")
    last = attempt(clock.now, ann=OK, bob=NEVER, cat=NEVER)
    async with opener(clock) as store:
        message = await put(store, b"kept", stage)
        async with await claimed(store, message, stage) as claim:
            await claim.settle(Fail(reason, last))
    async with opener(clock) as other:
        assert await stages(other) == {message: Stage.FAILED}
        assert not await can_claim(other, message, stage)
        history = await history_of(other, message)
        assert history.failed is not None
        assert (history.failed.reason, history.failed.stage) == (reason, stage)
        assert (history.last_attempt, history.delivered) == (last, {ANN: OK})
        async with await claimed(other, message, Stage.FAILED) as claim:
            assert await content_of(claim) == b"kept"


async def test_failure_without_an_attempt_is_kept_too(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, stage=Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Fail(NEVER))
        history = await history_of(store, message)
        assert history.failed is not None
        assert (history.failed.reason, history.attempts) == (NEVER, 0)


@pytest.mark.parametrize("stage", EARLY)
async def test_held_message_waits_until_it_is_released(opener: Opener, stage: Stage) -> None:
    async with opener() as store:
        message = await put(store, stage=stage)
        async with await claimed(store, message, stage) as claim:
            await claim.settle(Hold())
        assert await stages(store) == {message: Stage.HELD}
        assert not await can_claim(store, message, stage)
        assert await store.retry(message)
        assert await stages(store) == {message: stage}
        assert await can_claim(store, message, stage)


async def test_passed_message_is_ready_with_the_same_content(opener: Opener) -> None:
    content = b"Subject: x\r\n\r\n" + bytes(range(256))
    async with opener() as store, opener() as other:
        message = await put(store, content, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Pass())
        assert await stages(other) == {message: Stage.READY}
        async with await claimed(other, message) as claim:
            assert await content_of(claim) == content
            assert claim.envelope == ENVELOPE
            assert claim.history.stage is Stage.READY


async def test_passing_ends_the_schedule_of_the_filter_stage(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store, stage=Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 10)))
        clock.now += 10
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Pass())
        async with await claimed(store, message) as claim:
            assert (claim.history.attempts, claim.history.next_attempt) == (0, None)
            assert claim.history.accepted_at is not None


async def test_ready_message_cannot_pass(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            with pytest.raises(ValueError, match="unfiltered"):
                await claim.settle(Pass())
        assert await can_claim(store, message)


async def test_doubt_that_was_resolved_leaves_no_trace(opener: Opener) -> None:
    async with opener() as store:
        message, gone = await put(store), await put(store)
        async with await claimed(store, gone) as claim:
            assert await claim.before_dot("smarthost.test:25")
            await claim.settle(Done())
        async with await claimed(store, message) as claim:
            assert await claim.before_dot("smarthost.test:25")
            now = time.time()
            await claim.settle(Defer(attempt(now, next_attempt=now, ann=LATER)))
    async with opener() as later:
        assert (await history_of(later, message)).doubts == ()
        assert list(await listed(later)) == [message]
