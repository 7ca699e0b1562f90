"""A lease that ends gives the message to another process, and takes it from the first for good."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import (
    ENVELOPE,
    NEVER,
    OK,
    can_claim,
    claimed,
    content_of,
    history_of,
    listed,
    next_of,
    put,
    stages,
)

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events.store import PossibleDuplicate
from emailrelay.settlement import Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.claim import Claim


async def _late(store: Store, database: PostgresOpener) -> Claim:
    """Give a claim on a new message, whose lease has ended."""
    late = await claimed(store, await put(store))
    database.end_leases()
    return late


async def test_message_whose_lease_ended_is_claimed_by_another(database: PostgresOpener) -> None:
    async with database() as store, database() as other:
        message = await put(store, b"again")
        await claimed(store, message)
        assert not await can_claim(other, message)
        database.end_leases()
        async with other.feed(Stage.READY) as feed, await next_of(feed) as claim:
            assert claim.id == message
            assert await content_of(claim) == b"again"


async def test_late_settlement_is_refused_and_changes_nothing(database: PostgresOpener) -> None:
    async with database() as store, database() as other:
        late = await _late(store, database)
        async with await claimed(other, late.id) as claim:
            with pytest.raises(StoreError, match="lease"):
                await late.settle(Fail(NEVER))
            assert await stages(other) == {late.id: Stage.READY}
            await claim.settle(Done())
        assert await listed(other) == {}


async def test_late_settlement_is_refused_when_another_claim_has_finished_the_message(
    database: PostgresOpener,
) -> None:
    """The mark of the final dot may be lost with the server: then only this names the duplicate."""
    async with database() as store, database() as other:
        late = await _late(store, database)
        async with await claimed(other, late.id) as claim:
            await claim.settle(Done())
        with pytest.raises(StoreError, match="lease"):
            await late.settle(Done())


async def test_late_settlement_is_refused_when_an_operator_has_deleted_the_message(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        late = await _late(store, database)
        assert await other.delete(late.id)
        with pytest.raises(StoreError, match="lease"):
            await late.settle(Done())


@pytest.mark.parametrize("late_first", [True, False])
async def test_two_claims_on_a_message_end_together(
    database: PostgresOpener, *, late_first: bool
) -> None:
    """A process may claim a message again whose lease it has lost, and end both claims at once."""
    async with database() as store:
        message = await put(store, b"once", Stage.UNFILTERED)
        late = await claimed(store, message, Stage.UNFILTERED)
        database.end_leases()
        claim = await claimed(store, message, Stage.UNFILTERED)
        (await claim.work_copy("new")).content.write_bytes(b"edited")
        works = [late.release(), claim.settle(Pass())]
        await asyncio.gather(*(works if late_first else reversed(works)))
        async with await claimed(store, message) as ready:
            assert await content_of(ready) == b"edited"


async def test_late_settlement_is_refused_beside_a_release(database: PostgresOpener) -> None:
    async with database() as store:
        late = await _late(store, database)
        claim = await claimed(store, late.id)
        ended = await asyncio.gather(
            late.settle(Fail(NEVER)), claim.release(), return_exceptions=True
        )
        assert isinstance(ended[0], StoreError)
        assert await stages(store) == {late.id: Stage.READY}


async def test_late_release_does_not_free_a_message_of_another(database: PostgresOpener) -> None:
    async with database() as store, database() as other:
        late = await _late(store, database)
        async with await claimed(other, late.id):
            await late.release()
            assert not await can_claim(store, late.id)


async def test_settlement_counts_after_the_lease_if_no_other_has_claimed(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        claim = await claimed(store, await put(store))
        database.end_leases()
        await claim.settle(Done())
        assert await listed(store) == {}


async def test_no_final_dot_after_the_lease(database: PostgresOpener) -> None:
    async with database() as store:
        claim = await claimed(store, await put(store))
        assert await claim.before_dot("smarthost.test:25")
        database.end_leases()
        with pytest.raises(StoreError, match="lease"):
            await claim.before_dot("smarthost.test:25")


async def test_no_final_dot_in_the_last_half_of_a_lease(database: PostgresOpener) -> None:
    async with database() as store:
        claim = await claimed(store, await put(store))
        database.run(
            "update emailrelay.message set lease_until = lease_until - interval '31 seconds'"
        )
        with pytest.raises(StoreError, match="renewed"):
            await claim.before_dot("smarthost.test:25")


async def test_no_final_dot_after_the_lease_beside_one_of_a_later_claim(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        late = await _late(store, database)
        async with await claimed(store, late.id) as claim:
            asked = [each.before_dot("smarthost.test:25") for each in (claim, late)]
            wanted, refused = await asyncio.gather(*asked, return_exceptions=True)
            assert wanted is True
            assert isinstance(refused, StoreError)


async def test_leases_are_renewed(database: PostgresOpener) -> None:
    database.url = database.server.url(database.name, lease="6")
    async with database() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            first = database.run("select lease_until from emailrelay.message")
            while database.run("select lease_until from emailrelay.message") == first:
                assert not await can_claim(store, message)
                await asyncio.sleep(0.1)
            assert not await can_claim(store, message)
            await claim.settle(Done())


async def test_duplicate_is_named_if_a_lease_ended_at_the_final_dot(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        message = await put(store)
        claim = await claimed(store, message)
        assert await claim.before_dot("smarthost.test:25")
        database.end_leases()
        async with await claimed(other, message) as again:
            assert again.history.doubts == ("smarthost.test:25",)
        assert (await history_of(other, message)).doubts == ("smarthost.test:25",)
        (named,) = [each for each in database.reports if isinstance(each, PossibleDuplicate)]
        assert (named.id, named.peer) == (message, "smarthost.test:25")


async def test_nothing_is_named_if_a_lease_ended_before_the_final_dot(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        message = await put(store)
        await claimed(store, message)
        database.end_leases()
        async with await claimed(other, message) as again:
            assert again.history.doubts == ()
        assert "PossibleDuplicate" not in database.kinds()


async def test_wish_that_a_dead_worker_left_is_done_before_the_next_claim(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        message = await put(store)
        await claimed(store, message)
        assert await other.hold(message)
        database.end_leases()
        assert not await can_claim(other, message)
        assert await stages(other) == {message: Stage.HELD}


async def test_wish_takes_a_message_from_a_worker_whose_lease_ended(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        late = await _late(store, database)
        assert await other.fail(late.id)
        with pytest.raises(StoreError, match="lease"):
            await late.settle(Done())
        assert await stages(other) == {late.id: Stage.FAILED}


@pytest.mark.parametrize(
    ("ack", "left"), [(Ack.FILTERED, [Stage.UNFILTERED]), (Ack.DELIVERED, list[Stage]())]
)
async def test_dead_receiver_waits_no_more(
    database: PostgresOpener, ack: Ack, left: list[Stage]
) -> None:
    async with database() as store, database() as other:
        draft = store.draft(ENVELOPE)
        draft.write(b"x")
        await draft.commit(Stage.UNFILTERED, ack)
        database.run("update emailrelay.awaited set wait_until = clock_timestamp()")
        claim = await other.claim(Stage.UNFILTERED, draft.id)
        assert (claim is None) == (ack is Ack.DELIVERED)
        if claim is not None:
            assert claim.ack is Ack.STORED
            await claim.release()
        assert list((await stages(other)).values()) == left
        assert await draft.answer(0.01) is None


async def test_answer_after_the_wait_of_a_dead_receiver_is_not_heard(
    database: PostgresOpener,
) -> None:
    async with database() as store, database() as other:
        draft = store.draft(ENVELOPE)
        draft.write(b"x")
        await draft.commit(Stage.READY, Ack.DELIVERED)
        claim = await claimed(other, draft.id)
        assert await claim.before_dot("smarthost.test:25")
        database.run("update emailrelay.awaited set wait_until = clock_timestamp()")
        assert not await claim.before_dot("smarthost.test:25")
        assert not await claim.settle(Done(), answer=OK)
        assert await draft.answer(0.01) is None
        assert await stages(other) == {}


async def test_damaged_row_is_set_aside_once(database: PostgresOpener) -> None:
    async with database() as store:
        damaged, good = await put(store), await put(store)
        database.run(
            "update emailrelay.message set envelope = 'garbage' where run_at ="
            " (select min(run_at) from emailrelay.message)"
        )
        async with store.feed(Stage.READY) as feed, await next_of(feed) as claim:
            assert claim.id == good
        assert await stages(store) == {damaged: Stage.FAILED, good: Stage.READY}
        assert database.kinds().count("SetAside") == 1


async def test_feed_leaves_a_message_alone_whose_settlement_failed(
    database: PostgresOpener,
) -> None:
    async with database() as store, store.feed(Stage.UNFILTERED) as feed:
        first = await put(store, stage=Stage.UNFILTERED)
        async with await next_of(feed) as claim:
            (await claim.work_copy("new")).envelope.unlink()
            with pytest.raises(StoreError):
                await claim.settle(Pass())
        second = await put(store, stage=Stage.UNFILTERED)
        async with await next_of(feed) as claim:
            assert claim.id == second
        assert await can_claim(store, first, Stage.UNFILTERED)
