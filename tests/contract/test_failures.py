"""The sender of a failed message gets one notice, whichever process dies."""

from tests.contract.mail import CAT, Opener, claimed, content_of, history_of, put, stages

from emailrelay.envelope import NULL_SENDER
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.failure import FailedMessage

REASON = Reply(550, "5.1.1 nobody")
CONTENT = b"Subject: x\r\n\r\nx\r\n"


def text(message: QueueId) -> bytes:
    return f"Message-ID: <{message}@x.test>\r\n\r\nnot delivered\r\n".encode()


async def failed(store: Store) -> QueueId:
    message = await put(store, CONTENT)
    async with await claimed(store, message) as claim:
        await claim.settle(Fail(REASON))
    return message


async def failure_of(store: Store, message: QueueId) -> FailedMessage:
    failure = await store.failure(message)
    assert failure is not None
    return failure


async def test_failure_tells_all_that_a_notice_needs(opener: Opener) -> None:
    async with opener() as store, await failure_of(store, await failed(store)) as failure:
        assert failure.envelope is not None
        assert failure.envelope.sender == "sender@x.test"
        assert CAT in failure.history.pending(failure.envelope)
        assert not failure.history.notified
        assert await failure.prepared() is None
        assert await failure.beginning(7) == CONTENT[:7]
        assert await failure.beginning(1000) == CONTENT


async def test_only_failed_mail_is_told_of(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store)
        assert await store.failure(message) is None
        assert await store.failure(QueueId("1.1.1")) is None


async def test_one_process_at_a_time_tells_of_a_message(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await failed(store)
        async with await failure_of(store, message):
            assert await other.failure(message) is None
        async with await failure_of(other, message) as failure:
            assert not failure.history.notified


async def test_relayed_notice_is_mail_from_the_null_sender_to_the_sender(opener: Opener) -> None:
    async with opener() as store:
        await store.set_entrance(Stage.UNFILTERED)
        message = await failed(store)
        async with await failure_of(store, message) as failure:
            prepared = await failure.prepare(text, local=False)
            assert prepared.text == text(prepared.id)
            await failure.relay()
            await failure.relay()
            assert await failure.prepared() is None
        assert await stages(store) == {message: Stage.FAILED, prepared.id: Stage.UNFILTERED}
        assert (await history_of(store, message)).notified
        async with await claimed(store, prepared.id, Stage.UNFILTERED) as claim:
            assert claim.envelope.sender == NULL_SENDER
            assert claim.envelope.recipients == ("sender@x.test",)
            assert await content_of(claim) == prepared.text


async def test_notice_that_was_prepared_leaves_though_its_process_dies(opener: Opener) -> None:
    async with opener() as store:
        message = await failed(store)
        async with await failure_of(store, message) as failure:
            prepared = await failure.prepare(text, local=False)
    async with opener() as later:
        assert await stages(later) == {message: Stage.FAILED, prepared.id: Stage.READY}
        async with await failure_of(later, message) as failure:
            assert failure.history.notified
            assert await failure.prepared() is None


async def test_notice_for_a_local_agent_waits_for_the_next_notifier(opener: Opener) -> None:
    async with opener() as store:
        message = await failed(store)
        async with await failure_of(store, message) as failure:
            prepared = await failure.prepare(text, local=True)
    async with opener() as later:
        assert await stages(later) == {message: Stage.FAILED}
        async with await failure_of(later, message) as failure:
            assert failure.history.notified
            assert await failure.prepared() == prepared
            await failure.delivered()
            assert await failure.prepared() is None
    async with opener() as last, await failure_of(last, message) as failure:
        assert await failure.prepared() is None
        assert await stages(last) == {message: Stage.FAILED}


async def test_message_that_needs_no_notice_is_recorded(opener: Opener) -> None:
    async with opener() as store:
        message = await failed(store)
        async with await failure_of(store, message) as failure:
            await failure.record()
        async with await failure_of(store, message) as failure:
            assert failure.history.notified
            assert await failure.prepared() is None
        assert await stages(store) == {message: Stage.FAILED}


async def test_operators_wish_is_carried_out_when_the_notifier_is_done(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await failed(store)
        async with await failure_of(store, message) as failure:
            assert await other.retry(message)
            await failure.record()
        assert await stages(store) == {message: Stage.READY}


async def test_message_that_failed_again_is_told_of_again(opener: Opener) -> None:
    async with opener() as store:
        message = await failed(store)
        async with await failure_of(store, message) as failure:
            await failure.record()
        assert await store.retry(message)
        async with await claimed(store, message) as claim:
            await claim.settle(Fail(REASON))
        async with await failure_of(store, message) as failure:
            assert not failure.history.notified


async def test_one_notice_can_be_about_several_messages(opener: Opener) -> None:
    async with opener() as store:
        first, second = await failed(store), await failed(store)
        async with (
            await failure_of(store, first) as failure,
            await failure_of(store, second) as other,
        ):
            assert failure.beside(other)
            prepared = await failure.prepare(text, local=False, to=(CAT,), also=(other,))
            await failure.relay()
        expected = {first: Stage.FAILED, second: Stage.FAILED, prepared.id: Stage.READY}
        assert await stages(store) == expected
        for message in (first, second):
            notice = (await history_of(store, message)).notice
            assert notice is not None
            assert (notice.told, notice.to, notice.notice) == (True, (CAT,), prepared.id)
        async with await claimed(store, prepared.id) as claim:
            assert claim.envelope.recipients == (CAT,)


async def test_record_says_whether_the_sender_was_told(opener: Opener) -> None:
    async with opener() as store:
        for told in (False, True):
            message = await failed(store)
            async with await failure_of(store, message) as failure:
                await failure.record(told=told)
            notice = (await history_of(store, message)).notice
            assert notice is not None
            assert notice.told is told


async def test_failed_message_can_be_removed(opener: Opener) -> None:
    async with opener() as store:
        message, other = await failed(store), await failed(store)
        async with await failure_of(store, message) as failure:
            await failure.remove()
        assert await stages(store) == {other: Stage.FAILED}
    async with opener() as later:
        assert await stages(later) == {other: Stage.FAILED}


async def test_notice_that_was_left_is_sent_before_the_next_one_about_its_message(
    shared: Opener,
) -> None:
    async with shared() as store:
        first, second = await failed(store), await failed(store)
        async with (
            await failure_of(store, first) as failure,
            await failure_of(store, second) as other,
        ):
            left = await failure.prepare(text, local=False, also=(other,))
        assert await store.retry(first)
        assert await store.fail(first)
        async with await failure_of(store, first) as failure:
            again = await failure.prepare(text, local=False)
            await failure.relay()
        assert {left.id, again.id} < (await stages(store)).keys()
