"""New messages that filters put beside their copy are taken in."""

import pytest
from tests.contract.copies import ORIGINAL, REROUTED, add_pair
from tests.contract.mail import (
    ENVELOPE,
    NEVER,
    Opener,
    attempt,
    claimed,
    content_of,
    listed,
    put,
    stages,
)

from emailrelay.errors import StoreError
from emailrelay.events.store import TakenIn
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim
from emailrelay.store.postgres.message.draft import PostgresDraft
from emailrelay.store.spool.message.draft import SpoolDraft


async def _others(claim: Claim, opener: Opener) -> dict[bytes, Stage]:
    """Give content and stage of every message but the claimed one."""
    found: dict[bytes, Stage] = {}
    async with opener() as store:
        for message, stage in (await stages(store)).items():
            if message != claim.id:
                async with await claimed(store, message, stage) as other:
                    assert other.envelope == REROUTED
                    found[await content_of(other)] = stage
    return found


@pytest.mark.parametrize(
    "settlement",
    [Pass(), Done(), Fail(NEVER), Hold(), Defer(attempt(0.0, next_attempt=0.0))],
    ids=["pass", "done", "fail", "hold", "defer"],
)
async def test_new_messages_beside_the_copy_are_taken_in(
    opener: Opener, settlement: Settlement
) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            add_pair(copy, "1700000000.2.1", b"for the smarthost")
            add_pair(copy, "1700000000.2.2", b"to be filtered", ".filter")
            add_pair(copy, "1700000000.2.3", b"not finished", ".new")
            (copy.content.parent / "emailrelay.1700000000.2.4.content").write_bytes(b"alone")
            (copy.content.parent / "notes.txt").write_bytes(b"scratch")
            (copy.content.parent / "emailrelay.1700000000.2.5.content").write_bytes(b"linked")
            (copy.content.parent / "emailrelay.1700000000.2.5.envelope").symlink_to(copy.envelope)
            add_pair(copy, "1700000000.2.6", b"damaged")
            (copy.content.parent / "emailrelay.1700000000.2.6.envelope").write_bytes(b"garbage")
            await claim.settle(settlement)
        assert await _others(claim, opener) == {
            b"for the smarthost": Stage.READY,
            b"to be filtered": Stage.UNFILTERED,
        }
        assert len([event for event in opener.reports if isinstance(event, TakenIn)]) == 2


@pytest.mark.parametrize("settlement", [Pass(), Done()], ids=["pass", "done"])
async def test_message_stays_when_one_beside_its_copy_cannot_be_taken_in(
    shared: Opener, settlement: Settlement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise StoreError("commit", "no room")

    async with shared() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            add_pair(await claim.work_copy("new"), "split-1", b"other recipients", ".filter")
            with monkeypatch.context() as patch:
                patch.setattr(SpoolDraft, "secure", full)
                patch.setattr(PostgresDraft, "commit", full)
                with pytest.raises(StoreError):
                    await claim.settle(settlement)
    async with shared() as other:
        assert await stages(other) == {message: Stage.UNFILTERED}


async def test_new_message_does_not_replace_one_of_the_same_name(opener: Opener) -> None:
    async with opener() as store:
        victim = await put(store, b"victim")
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            add_pair(await claim.work_copy("new"), victim, b"intruder")
            await claim.settle(Pass())
        async with await claimed(store, victim) as claim:
            assert await content_of(claim) == b"victim"
            assert claim.envelope == ENVELOPE
        assert len(await listed(store)) == 3
