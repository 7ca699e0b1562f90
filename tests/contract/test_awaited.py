"""Clients that wait for the result of their message: both sides agree on it, after any crash."""

import asyncio

import pytest
from tests.contract.mail import (
    ANN,
    BOB,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    PATIENCE,
    Opener,
    attempt,
    can_claim,
    claimed,
    history_of,
    next_of,
    stages,
)

from emailrelay.ack import Ack
from emailrelay.events.delivery import Withdrawn
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.draft import Draft


async def _awaited(store: Store, stage: Stage, ack: Ack) -> Draft:
    draft = store.draft(ENVELOPE)
    draft.write(b"Subject: x\r\n\r\n")
    await draft.commit(stage, ack, "session-1")
    return draft


async def _answered(draft: Draft) -> Reply | None:
    async with asyncio.timeout(PATIENCE):
        return await draft.answer(PATIENCE)


@pytest.mark.parametrize("ack", [Ack.FILTERED, Ack.DELIVERED])
@pytest.mark.parametrize("reply", [LATER, NEVER])
async def test_rejection_reaches_the_client_and_nothing_is_kept(
    opener: Opener, ack: Ack, reply: Reply
) -> None:
    async with opener() as store, opener() as other:
        async with await _awaited(store, Stage.UNFILTERED, ack) as draft:
            waiting = asyncio.create_task(_answered(draft))
            async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
                assert claim.ack is ack
                await claim.settle(Fail(reply), answer=reply)
            assert await waiting == reply
        assert await stages(store) == {}


async def test_accepting_filters_answer_the_client_and_the_message_goes_on(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        async with await _awaited(store, Stage.UNFILTERED, Ack.FILTERED) as draft:
            async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
                await claim.settle(Pass(), answer=OK)
            assert await _answered(draft) == OK
        async with await claimed(other, draft.id) as claim:
            assert claim.ack is Ack.STORED
            await claim.settle(Done())


async def test_filters_pass_on_a_message_whose_client_waits_for_delivery(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        async with await _awaited(store, Stage.UNFILTERED, Ack.DELIVERED) as draft:
            async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
                await claim.settle(Pass())
            async with await claimed(other, draft.id) as claim:
                assert (claim.ack, claim.history.session) == (Ack.DELIVERED, "session-1")
                assert await claim.before_dot("mx.test:25")
                assert await claim.settle(Done(), answer=OK)
            assert await _answered(draft) == OK
        assert await stages(store) == {}


async def test_filtered_message_without_an_answer_is_ordinary_mail(opener: Opener) -> None:
    async with opener() as store:
        async with await _awaited(store, Stage.UNFILTERED, Ack.FILTERED) as draft:
            assert await draft.answer(0.01) is None
        async with await claimed(store, draft.id, Stage.UNFILTERED) as claim:
            assert claim.ack is Ack.STORED
            await claim.settle(Fail(NEVER), answer=NEVER)
        assert await stages(store) == {draft.id: Stage.FAILED}


async def test_proxied_message_without_an_answer_is_withdrawn(opener: Opener) -> None:
    async with opener() as store:
        async with await _awaited(store, Stage.READY, Ack.DELIVERED) as draft:
            assert await draft.answer(0.01) is None
        assert await stages(store) == {}


async def test_client_gone_during_the_delivery_makes_the_message_unwanted(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        async with await _awaited(store, Stage.READY, Ack.DELIVERED) as draft:
            claim = await claimed(other, draft.id)
        assert not await claim.before_dot("mx.test:25")
        await claim.release()
        assert not await can_claim(other, draft.id)
        assert await stages(store) == {}


async def test_client_gone_after_the_dot_gets_no_second_copy(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        async with await _awaited(store, Stage.READY, Ack.DELIVERED) as draft:
            claim = await claimed(other, draft.id)
        assert not await claim.settle(Done(), answer=OK)
        assert await stages(store) == {}


@pytest.mark.parametrize("ack", [Ack.FILTERED, Ack.DELIVERED])
async def test_answer_just_before_giving_up_counts(opener: Opener, ack: Ack) -> None:
    async with opener() as store, await _awaited(store, Stage.UNFILTERED, ack) as draft:
        async with await claimed(store, draft.id, Stage.UNFILTERED) as claim:
            await claim.settle(Fail(NEVER), answer=NEVER)
        assert await draft.answer(0) == NEVER


async def test_rest_of_a_message_answered_250_is_ordinary_mail(opener: Opener) -> None:
    async with opener() as store:
        async with await _awaited(store, Stage.READY, Ack.DELIVERED) as draft:
            async with await claimed(store, draft.id) as claim:
                partly = attempt(1.0, next_attempt=1.0, ann=OK, bob=LATER)
                await claim.settle(Defer(partly), answer=OK)
            assert await _answered(draft) == OK
        assert await stages(store) == {draft.id: Stage.READY}
        async with await claimed(store, draft.id) as claim:
            assert ANN not in claim.history.pending(claim.envelope)
            assert BOB in claim.history.pending(claim.envelope)
            await claim.settle(Fail(NEVER))
        assert (await history_of(store, draft.id)).failed is not None


async def test_proxied_mail_of_a_receiver_that_died_is_withdrawn(opener: Opener) -> None:
    async with opener() as other:
        async with opener() as store:
            draft = await _awaited(store, Stage.READY, Ack.DELIVERED)
            await draft.discard()
        assert await stages(other) == {}


async def test_waiting_clients_are_answered_each_with_their_own_reply(opener: Opener) -> None:
    async with opener() as store, opener() as other, other.feed(Stage.READY) as feed:

        async def deliver() -> None:
            for _ in range(20):
                async with await next_of(feed) as claim:
                    await claim.settle(Done(), answer=Reply(250, f"2.0.0 {claim.id}"))

        async def send() -> None:
            async with await _awaited(store, Stage.READY, Ack.DELIVERED) as draft:
                assert await _answered(draft) == Reply(250, f"2.0.0 {draft.id}")

        await asyncio.gather(deliver(), *(send() for _ in range(20)))
        assert await stages(store) == {}
        assert not [event for event in opener.reports if isinstance(event, Withdrawn)]


async def test_forwarder_does_not_speak_for_the_filters(opener: Opener) -> None:
    async with opener() as store, opener() as other, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(Stage.UNFILTERED, Ack.FILTERED)
        waiting = asyncio.create_task(draft.answer(PATIENCE))
        await asyncio.sleep(0)
        async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
            await claim.settle(Pass())
        # The client gets its reply just after the message is ready: the forwarder may be quicker.
        async with await claimed(other, draft.id) as claim:
            now = claim.history.started_at or 0.0
            later = attempt(now, next_attempt=now)
            await claim.settle(Defer(later), answer=Reply(451, "4.4.0 not now"))
        assert await stages(store) == {draft.id: Stage.READY}
        waiting.cancel()


async def test_nobody_waits_for_filters_where_there_are_none(opener: Opener) -> None:
    async with opener() as store, store.draft(ENVELOPE) as draft:
        draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(Stage.READY, Ack.FILTERED)
        async with asyncio.timeout(PATIENCE / 2):
            assert await draft.answer(PATIENCE) is None
        assert await stages(store) == {draft.id: Stage.READY}
