"""Mail without a 250 is not synced; only its remains are withdrawn after a power cut."""

import os
from collections.abc import Awaitable, Callable

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import can_claim, put, stages
from tests.contract.played_cut import BODY, cut, everything

from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.store import SetAside
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store

WAITED_FOR = Envelope(
    sender=Address("sender@x.test"),
    to_remote=tuple(Address(f"{n}{'x' * 60}@y.test") for n in range(100)),
)


async def _left(spool: SpoolOpener, octets: int, stage: Stage = Stage.READY) -> SpoolOpener:
    """Cut the power while a client waits; this many octets of each file were written."""
    async with spool() as store, store.draft(WAITED_FOR) as draft:
        draft.write(BODY)
        await draft.commit(stage, Ack.DELIVERED)
        after = cut(spool, everything)
        assert list(after.directory.glob(".doubt/writer.*")), "the receiver's lock has no file"
    for path in after.directory.glob("emailrelay.*"):
        if path.stat().st_size > octets:
            os.truncate(path, octets)
    return after


def _end_mark(spool: SpoolOpener) -> int:
    (envelope,) = spool.directory.glob("*.envelope")
    return envelope.read_bytes().index(b"X-MailRelay-Accepted")


@pytest.mark.parametrize("octets", [0, 1, 4096, 100_000])
@pytest.mark.parametrize("stage", [Stage.UNFILTERED, Stage.READY])
async def test_unacknowledged_mail_is_withdrawn_whatever_is_left_of_it(
    spool: SpoolOpener, octets: int, stage: Stage
) -> None:
    after = await _left(spool, octets, stage)
    async with after() as store:
        (message,) = await stages(store)
        adopted = after.directory / ".work" / f"{message}.adopt"
        adopted.mkdir()
        assert not await can_claim(store, message, stage)
        assert await stages(store) == {}
        assert not adopted.exists()
        assert [type(event) for event in after.reports] == [Withdrawn]
    assert list(after.directory.glob("emailrelay.*")) == []


async def test_unacknowledged_mail_cut_behind_its_end_mark_is_withdrawn(spool: SpoolOpener) -> None:
    after = await _left(spool, 100_000)
    (envelope,) = after.directory.glob("*.envelope")
    os.truncate(envelope, _end_mark(after))
    async with after() as store:
        (message,) = await stages(store)
        assert not await can_claim(store, message)
        assert await stages(store) == {}


async def _stored(store: Store) -> QueueId:
    return await put(store, BODY)


async def _answered(store: Store) -> QueueId:
    """The client got 250 when one of two recipients had the message."""
    async with store.draft(WAITED_FOR) as draft:
        draft.write(BODY)
        await draft.commit(Stage.READY, Ack.DELIVERED)
        claim = await store.claim(Stage.READY, draft.id)
        assert claim is not None
        failed = Fail(Reply(550, "5.1.1 nobody"))
        await claim.settle(failed, Reply(250, "2.0.0 ok"))
        assert (await draft.answer(5.0)) == Reply(250, "2.0.0 ok")
    assert await store.retry(draft.id)
    return draft.id


@pytest.mark.parametrize("made", [_stored, _answered])
async def test_acknowledged_mail_that_is_damaged_is_set_aside(
    spool: SpoolOpener, made: Callable[[Store], Awaitable[QueueId]]
) -> None:
    async with spool() as store:
        message = await made(store)
        os.truncate(spool.directory / f"emailrelay.{message}.envelope", 0)
        assert not await can_claim(store, message)
        assert await stages(store) == {message: Stage.FAILED}
        assert [type(event) for event in spool.reports] == [SetAside]
