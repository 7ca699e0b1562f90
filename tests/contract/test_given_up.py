"""A receiver that gives up on a message at its final dot names the duplicate that may follow."""

import asyncio

import pytest
from tests.contract.mail import ENVELOPE, OK, PATIENCE, Opener, claimed, history_of, stages

from emailrelay.ack import Ack
from emailrelay.events.event import Event
from emailrelay.events.store import PossibleDuplicate
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.draft import Draft

PEER = "mx.test:25"


async def _awaited(store: Store) -> Draft:
    draft = store.draft(ENVELOPE)
    draft.write(b"Subject: x\r\n\r\n")
    await draft.commit(Stage.READY, Ack.DELIVERED)
    return draft


def _named(opener: Opener) -> list[Event]:
    return [event for event in opener.reports if isinstance(event, PossibleDuplicate)]


async def test_client_given_up_at_the_dot_is_named_in_log_and_journal(opener: Opener) -> None:
    async with opener() as store, opener() as other, await _awaited(store) as draft:
        async with await claimed(other, draft.id) as claim:
            assert await claim.before_dot(PEER)
            assert await draft.answer(0.0) is None
            assert _named(opener) == [PossibleDuplicate(id=draft.id, peer=PEER)]
            assert (await history_of(other, draft.id)).doubts == (PEER,)
            await claim.settle(Done(), answer=OK)
        assert await stages(store) == {}


@pytest.mark.parametrize("claims", [True, False])
async def test_client_given_up_before_the_dot_is_no_duplicate(
    opener: Opener, *, claims: bool
) -> None:
    async with opener() as store, opener() as other, await _awaited(store) as draft:
        if claims:
            async with await claimed(other, draft.id) as claim:
                assert await draft.answer(0.0) is None
                assert not await claim.before_dot(PEER)
        else:
            assert await draft.answer(0.0) is None
    assert not _named(opener)


async def test_client_answered_after_the_dot_hears_it_and_is_no_duplicate(
    opener: Opener,
) -> None:
    async with opener() as store, opener() as other, await _awaited(store) as draft:
        waiting = asyncio.create_task(draft.answer(PATIENCE))
        async with await claimed(other, draft.id) as claim:
            assert await claim.before_dot(PEER)
            await claim.settle(Done(), answer=OK)
        assert await waiting == OK
    assert not _named(opener)
