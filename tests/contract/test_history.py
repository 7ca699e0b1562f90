"""The history of every store: a record of each message that has left, within its bounds."""

import asyncio
import time

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
    claimed,
    put,
)

from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.envelope import Address
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage
from emailrelay.journal import AdministratorWish, Attempt, Failure
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.mail_history import NO_HISTORY, HistoryBounds

WIDE = HistoryBounds(30, 100_000_000)
TEXTS = (
    "bob@y.test",
    "BOB@Y.Test",
    "<bob@y.test>",
    "bob",
    "y.test",
    "@y.test",
    "b?b@*",
    "u@[10.0.0.?]",
    "<Ünïque-1@x.test>",
    "ünïque-1@x.test",
    "2.0.0 queued as 4F2A",
    "QUEUED as",
    "smarthost.test:25",
    "alice",
    "192.0.2.1",
)
"""All of the first message in ``test_message_is_found_by_any_of_its_texts``."""


async def found(store: Store, wanted: HistoryQuery) -> list[PastMessage]:
    return [message async for message in store.history().find(wanted)]


async def one(store: Store, message: QueueId) -> PastMessage:
    (record,) = await found(store, HistoryQuery(id=message))
    return record


async def test_delivered_message_has_one_record_with_its_journal(opener: Opener) -> None:
    clock = Clock()
    envelope = ENVELOPE._replace(authentication="alice", message_id="<m1@x.test>")
    async with opener(clock) as store:
        await store.history().keep(WIDE)
        message = await put(store, envelope=envelope)
        first = attempt(clock(), next_attempt=clock(), ann=OK, bob=LATER, cat=LATER)
        async with await claimed(store, message) as claim:
            await claim.settle(Defer(first))
        last = Attempt(at=clock(), peer="smarthost.test:25", replies={BOB: OK}, tls="TLSv1.3")
        async with await claimed(store, message) as claim:
            await claim.settle(Done(last))
        assert await store.describe(message) is None
        record = await one(store, message)
    assert (record.end, record.sender, record.recipients) == (
        MessageEnd.DELIVERED,
        "sender@x.test",
        (ANN, BOB, CAT),
    )
    assert (record.client, record.user, record.message_id) == ("192.0.2.1", "alice", "<m1@x.test>")
    assert record.size == len(b"Subject: x\r\n\r\nx\r\n")
    accepted, *tries = record.entries
    assert isinstance(accepted, Accepted)
    assert record.arrived == accepted.at
    assert tries == [first, last]


async def test_how_a_message_ended_is_told(opener: Opener) -> None:
    async with opener() as store:
        await store.history().keep(WIDE)
        ends: dict[QueueId, MessageEnd] = {}

        dropped = await put(store, stage=Stage.UNFILTERED)
        async with await claimed(store, dropped, Stage.UNFILTERED) as claim:
            await claim.settle(Done(attempt(1.0), MessageEnd.DROPPED))
        ends[dropped] = MessageEnd.DROPPED

        deleted = await put(store)
        assert await store.delete(deleted)
        ends[deleted] = MessageEnd.DELETED

        while_claimed = await put(store)
        async with await claimed(store, while_claimed) as claim:
            assert await store.wish(while_claimed, AdministratorWish.DELETE)
            await claim.settle(Defer(attempt(1.0, next_attempt=2.0, ann=OK, bob=LATER)))
        ends[while_claimed] = MessageEnd.DELETED

        moved = await put(store)
        async with await claimed(store, moved) as claim:
            await claim.settle(Done(end=MessageEnd.MOVED))
        ends[moved] = MessageEnd.MOVED

        told = {message: (await one(store, message)).end for message in ends}
        assert told == ends
        tries = (await one(store, while_claimed)).entries
        assert tries[-1] == attempt(1.0, next_attempt=2.0, ann=OK, bob=LATER)


async def test_failed_message_has_a_record_once_it_is_deleted(opener: Opener) -> None:
    async with opener() as store:
        await store.history().keep(WIDE)
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(NEVER, attempt(1.0, ann=NEVER)))
        assert await found(store, HistoryQuery(id=message)) == []
        assert await store.delete(message)
        record = await one(store, message)
    assert record.end is MessageEnd.DELETED
    assert any(isinstance(entry, Failure) and entry.reason == NEVER for entry in record.entries)


async def test_client_that_gives_up_leaves_a_record_of_a_withdrawn_message(opener: Opener) -> None:
    async with opener() as store:
        await store.history().keep(WIDE)
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"x\r\n")
            await draft.commit(Stage.READY, Ack.DELIVERED)
            assert await draft.answer(within=0.0) is None
        assert (await one(store, draft.id)).end is MessageEnd.WITHDRAWN


async def test_client_that_is_refused_leaves_a_record_with_the_reply(opener: Opener) -> None:
    async with opener() as store:
        await store.history().keep(WIDE)
        async with store.draft(ENVELOPE) as draft:
            draft.write(b"x\r\n")
            await draft.commit(Stage.READY, Ack.DELIVERED)
            answering = asyncio.create_task(draft.answer(within=20.0))
            async with await claimed(store, draft.id) as claim:
                await claim.settle(Fail(NEVER, attempt(1.0, ann=NEVER)), answer=NEVER)
            assert await answering == NEVER
        record = await one(store, draft.id)
    assert record.end is MessageEnd.REFUSED
    assert record.entries[-1] == attempt(1.0, ann=NEVER)


async def test_message_is_found_by_any_of_its_texts(opener: Opener) -> None:
    queued = OK._replace(text="2.0.0 queued as 4F2A")
    unique = ENVELOPE._replace(
        sender=Address("u@[10.0.0.1]"), authentication="Alice", message_id="<ünïque-1@x.test>"
    )
    other = ENVELOPE._replace(to_remote=(CAT,), client="192.0.2.11")
    async with opener() as store:
        await store.history().keep(WIDE)
        ids: list[QueueId] = []
        for envelope, reply in ((unique, queued), (other, OK)):
            message = await put(store, envelope=envelope)
            async with await claimed(store, message) as claim:
                peer = "smarthost.test:25" if reply is queued else "elsewhere.test"
                replies = {BOB: reply} if reply is queued else {}
                await claim.settle(Done(Attempt(at=1.0, peer=peer, replies=replies)))
            ids.append(message)
        for text in TEXTS:
            records = await found(store, HistoryQuery(text=text))
            assert [record.id for record in records] == ids[:1], text
            assert await found(store, HistoryQuery(text=f"no {text}")) == [], text


async def test_newest_end_comes_first(opener: Opener) -> None:
    async with opener() as store:
        await store.history().keep(WIDE)
        first, second = await put(store), await put(store)
        for message in (second, first):
            async with await claimed(store, message) as claim:
                await claim.settle(Done())
        records = await found(store, HistoryQuery(text="bob"))
    assert [record.id for record in records] == [first, second]


async def test_history_is_off_until_bounds_are_set_and_after_zero(opener: Opener) -> None:
    async with opener() as store:
        assert await store.history().bounds() == NO_HISTORY
        before = await put(store)
        assert await store.delete(before)
        await store.history().keep(WIDE)
        assert await store.history().bounds() == WIDE
        kept = await put(store)
        assert await store.delete(kept)
        assert [r.id for r in await found(store, HistoryQuery(text="bob"))] == [kept]
        await store.history().keep(HistoryBounds(0, 1))
        assert await found(store, HistoryQuery(text="bob")) == []
        after = await put(store)
        assert await store.delete(after)
        await store.history().keep(WIDE)
        assert await found(store, HistoryQuery(text="bob")) == []


async def test_every_opener_of_the_store_obeys_the_bounds(opener: Opener) -> None:
    async with opener() as first:
        await first.history().keep(WIDE)
        async with opener() as second:
            message = await put(second)
            assert await second.delete(message)
        assert (await one(first, message)).end is MessageEnd.DELETED


async def test_record_that_has_hostile_texts_is_one_record(opener: Opener) -> None:
    hostile = '"}\\u0000{"v":1,"id":"1.1.1","ended":1'
    envelope = ENVELOPE._replace(authentication=hostile, client=hostile)
    reply = OK._replace(text=f"2.0.0 {hostile}")
    async with opener() as store:
        await store.history().keep(WIDE)
        message = await put(store, envelope=envelope)
        async with await claimed(store, message) as claim:
            await claim.settle(Done(attempt(1.0, ann=reply)))
        record = await one(store, message)
        assert (record.user, record.entries[-1]) == (hostile, attempt(1.0, ann=reply))
        assert await found(store, HistoryQuery(id=QueueId("1.1.1"))) == []


async def test_failed_message_whose_time_is_over_has_expired(opener: Opener) -> None:
    async with opener() as store:
        await store.history().keep(WIDE)
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(NEVER, attempt(1.0, ann=NEVER)))
        failure = await store.failure(message)
        assert failure is not None
        async with failure:
            await failure.remove()
        assert (await one(store, message)).end is MessageEnd.EXPIRED


async def test_the_ends_since_a_time_are_listed_for_counts(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        await store.history().keep(WIDE)
        began = clock()
        first, second, stays = [await put(store) for _ in range(3)]
        async with await claimed(store, first) as claim:
            await claim.settle(Done(attempt(clock(), ann=OK, bob=OK, cat=OK)))
        await store.delete(second)
        ends = {each.id: each async for each in store.history().ends(began - 60)}
        assert {message: each.end for message, each in ends.items()} == {
            first: MessageEnd.DELIVERED,
            second: MessageEnd.DELETED,
        }
        assert stays not in ends
        (record,) = await found(store, HistoryQuery(id=first))
        assert ends[first].ended == record.ended
        later = [each async for each in store.history().ends(max(time.time(), clock()) + 60)]
        assert later == []
