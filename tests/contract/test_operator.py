"""An operator's request takes effect at once, or when the claim on the message ends."""

import pytest
from tests.contract.mail import (
    ANN,
    BOB,
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

from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.transition import GIVEN_UP

EARLY = [Stage.UNFILTERED, Stage.READY]


@pytest.mark.parametrize("stage", EARLY)
async def test_held_message_is_kept_and_not_claimed(opener: Opener, stage: Stage) -> None:
    async with opener() as store, opener() as other:
        message = await put(store, b"held", stage)
        assert await store.hold(message)
        assert await stages(other) == {message: Stage.HELD}
        assert not await can_claim(other, message, stage)
        assert (await history_of(other, message)).held
        assert await other.retry(message)
        assert await stages(store) == {message: stage}
        async with await claimed(store, message, stage) as claim:
            assert await content_of(claim) == b"held"
            assert not claim.history.held


@pytest.mark.parametrize("stage", EARLY)
async def test_retried_failure_starts_anew_but_not_for_those_delivered(
    opener: Opener, stage: Stage
) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store, stage=stage)
        async with await claimed(store, message, stage) as claim:
            await claim.settle(Fail(NEVER, attempt(clock.now, ann=OK, bob=NEVER, cat=LATER)))
        clock.now += 1000
        assert await store.retry(message)
        assert await stages(store) == {message: stage}
        async with await claimed(store, message, stage) as claim:
            assert claim.history.delivered == {ANN: OK}
            assert claim.history.refused == {}
            assert claim.history.failed is None
            assert claim.history.attempts == 0
            assert claim.history.started_at == clock.now
            assert BOB in claim.history.pending(ENVELOPE)


async def test_retried_message_is_due_now(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100)))
        assert not await can_claim(store, message)
        assert await store.retry(message)
        assert await can_claim(store, message)


async def test_retry_wakes_a_waiting_feed(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other, store.feed(Stage.READY) as feed:
        message = await put(store)
        async with await next_of(feed) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100)))
        assert await other.retry(message)
        async with await next_of(feed) as claim:
            assert claim.id == message


@pytest.mark.parametrize("settlement", [None, Hold(), Fail(NEVER)], ids=["free", "held", "failed"])
@pytest.mark.parametrize("stage", EARLY)
async def test_deleted_message_is_gone(
    opener: Opener, stage: Stage, settlement: Settlement | None
) -> None:
    async with opener() as store, opener() as other:
        message = await put(store, stage=stage)
        if settlement is not None:
            async with await claimed(store, message, stage) as claim:
                await claim.settle(settlement)
        assert await other.delete(message)
        assert await listed(store) == {}
        assert await store.describe(message) is None
        assert not await store.delete(message)


@pytest.mark.parametrize("verb", ["hold", "retry", "delete"])
async def test_there_is_nothing_to_do_to_an_unknown_message(opener: Opener, verb: str) -> None:
    async with opener() as store:
        kept = await put(store)
        assert not await getattr(store, verb)(QueueId("1700000000000.1.1"))
        assert await stages(store) == {kept: Stage.READY}


ENDINGS = [
    pytest.param(Defer(attempt(0.0, next_attempt=4e9, ann=LATER)), id="defer"),
    pytest.param(Fail(NEVER), id="fail"),
    pytest.param(Pass(), id="pass"),
    pytest.param(Hold(), id="hold"),
    pytest.param(None, id="released"),
]


async def _wish_while_claimed(
    opener: Opener, verb: str, settlement: Settlement | None
) -> tuple[QueueId, dict[QueueId, Stage]]:
    """Let another opener ask for something while the message is claimed; give where it is then."""
    async with opener() as store, opener() as other:
        message = await put(store, stage=Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert await getattr(other, verb)(message)
            assert await stages(other) == {message: Stage.UNFILTERED}
            if settlement is not None:
                await claim.settle(settlement)
        for stage in EARLY:  # a store may obey at once, or before anybody works on it again
            assert not await can_claim(other, message, stage)
        return message, await stages(other)


@pytest.mark.parametrize("settlement", ENDINGS)
async def test_delete_of_a_claimed_message_is_obeyed_when_the_claim_ends(
    opener: Opener, settlement: Settlement | None
) -> None:
    _, found = await _wish_while_claimed(opener, "delete", settlement)
    assert found == {}


@pytest.mark.parametrize("settlement", [p for p in ENDINGS if p.id != "fail"])
async def test_hold_of_a_claimed_message_is_obeyed_when_the_claim_ends(
    opener: Opener, settlement: Settlement | None
) -> None:
    message, found = await _wish_while_claimed(opener, "hold", settlement)
    assert found == {message: Stage.HELD}


async def test_retry_of_a_claimed_message_makes_it_due_when_the_claim_ends(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await other.retry(message)
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100, ann=OK)))
        async with await claimed(other, message) as claim:
            assert claim.history.delivered == {ANN: OK}


@pytest.mark.parametrize("verb", ["hold", "retry", "delete"])
async def test_wish_cannot_bring_a_delivered_message_back(opener: Opener, verb: str) -> None:
    async with opener() as store, opener() as other:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await getattr(other, verb)(message)
            await claim.settle(Done())
        assert await listed(other) == {}


async def test_wish_is_obeyed_once(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        async with await claimed(store, message):
            assert await store.hold(message)
        assert await store.retry(message)
        async with await claimed(store, message):
            pass
        assert await stages(store) == {message: Stage.READY}


async def test_listing_shows_the_stages_asked_for(opener: Opener) -> None:
    async with opener() as store:
        ready, unfiltered = await put(store), await put(store, stage=Stage.UNFILTERED)
        held, failed = await put(store), await put(store)
        await store.hold(held)
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(NEVER))
        expected = {
            ready: Stage.READY,
            unfiltered: Stage.UNFILTERED,
            held: Stage.HELD,
            failed: Stage.FAILED,
        }
        assert await stages(store) == expected
        for message, stage in expected.items():
            assert list(await listed(store, [stage])) == [message]
            found = await store.describe(message)
            assert found is not None
            assert found[:2] == (stage, ENVELOPE)


@pytest.mark.parametrize("stage", EARLY)
async def test_message_goes_back_to_where_it_came_from_after_failing_and_being_held(
    opener: Opener, stage: Stage
) -> None:
    async with opener() as store:
        message = await put(store, stage=stage)
        async with await claimed(store, message, stage) as claim:
            await claim.settle(Fail(NEVER))
        assert await store.hold(message)
        assert await stages(store) == {message: Stage.HELD}
        assert await store.retry(message)
        assert await stages(store) == {message: stage}


@pytest.mark.parametrize("stage", EARLY)
async def test_given_up_message_fails_once_with_its_reason(opener: Opener, stage: Stage) -> None:
    async with opener() as store, opener() as other:
        message = await put(store, stage=stage)
        assert await other.fail(message)
        assert await other.fail(message)
        assert await stages(store) == {message: Stage.FAILED}
        history = await history_of(store, message)
        assert history.failed is not None
        assert (history.failed.reason, history.failed.stage) == (GIVEN_UP, stage)
        assert not await store.fail(QueueId("1700000000000.1.1"))


async def test_flushed_message_is_due_and_keeps_its_schedule(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other, store.feed(Stage.READY) as feed:
        message = await put(store)
        assert not await other.flush(message)
        async with await next_of(feed) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100)))
        before = await history_of(store, message)
        assert await other.flush(message)
        async with await next_of(feed) as claim:
            assert claim.history.attempts == before.attempts == 1
            assert claim.history.started_at == before.started_at
        assert await other.hold(message)
        assert not await other.flush(message)


async def test_flush_makes_deferred_mail_due_and_leaves_its_age(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store, opener(clock) as other, store.feed(Stage.READY) as feed:
        message = await put(store)
        accepted = clock.now
        async with await next_of(feed) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now + 100)))
        clock.now += 10
        assert await other.flush(message)
        async with await next_of(feed) as claim:
            assert claim.id == message
            assert claim.history.started_at == accepted
            assert claim.history.attempts == 1


async def test_flush_is_for_deferred_mail_only(opener: Opener) -> None:
    async with opener() as store:
        ready, held, failed = await put(store), await put(store), await put(store)
        await store.hold(held)
        await store.fail(failed)
        for message in (ready, held, failed, QueueId("1700000000000.1.1")):
            assert not await store.flush(message)
        assert (await stages(store))[held] is Stage.HELD


@pytest.mark.parametrize("stage", EARLY)
async def test_failed_by_the_operator_is_failed_with_a_reason(opener: Opener, stage: Stage) -> None:
    async with opener() as store:
        message = await put(store, stage=stage)
        assert await store.fail(message)
        assert await stages(store) == {message: Stage.FAILED}
        failed = (await history_of(store, message)).failed
        assert failed is not None
        assert (failed.stage, failed.reason.code) == (stage, 554)
        assert await store.fail(message), "it is failed, as was asked for"
        assert await store.retry(message)
        assert await stages(store) == {message: stage}


async def test_fail_of_a_claimed_message_is_obeyed_when_the_claim_ends(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await put(store)
        async with await claimed(store, message):
            assert await other.fail(message)
        assert not await can_claim(other, message)
        assert await stages(other) == {message: Stage.FAILED}


async def test_listing_tells_the_size_of_the_content(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, b"12345")
        assert (await listed(store))[message].size == 5
