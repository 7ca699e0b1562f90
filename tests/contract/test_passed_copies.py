"""A Pass makes the private copy the message; every other result discards the copy."""

from collections.abc import Callable

import pytest
from tests.contract.copies import ORIGINAL, REROUTED, edit, replace, shorten
from tests.contract.mail import (
    ANN,
    BOB,
    CAT,
    ENVELOPE,
    NEVER,
    OK,
    Clock,
    Opener,
    attempt,
    can_claim,
    claimed,
    content_of,
    history_of,
    put,
    stages,
)

from emailrelay import envelope_format, journal_format
from emailrelay.settlement import Defer, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.claim import WorkCopy


@pytest.mark.parametrize("change", [edit, replace])
async def test_passed_copy_becomes_the_message(
    opener: Opener, change: Callable[[WorkCopy], None]
) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            change(copy)
            await claim.settle(Pass())
        assert not copy.content.parent.exists()
    async with opener() as other:
        assert await stages(other) == {message: Stage.READY}
        async with await claimed(other, message) as claim:
            assert await content_of(claim) == ORIGINAL + b"footer\r\n"
            assert claim.size == len(ORIGINAL) + 8
            assert claim.envelope == REROUTED
            assert claim.history.stage is Stage.READY
            assert claim.history.length == claim.size


@pytest.mark.parametrize("change", [edit, replace, None])
async def test_quarantined_message_is_held_as_the_filters_left_it(
    opener: Opener, change: Callable[[WorkCopy], None] | None
) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            if change is not None:
                change(copy)
            await claim.settle(Pass(quarantine="milter:/m: odd"))
    async with opener() as other:
        assert await stages(other) == {message: Stage.HELD}
        for stage in (Stage.UNFILTERED, Stage.READY):
            assert not await can_claim(other, message, stage)
        history = await history_of(other, message)
        assert (history.stage, history.held_for) == (Stage.READY, "milter:/m: odd")
        assert await other.retry(message)  # no filter sees it again
        async with await claimed(other, message) as claim:
            footer = b"" if change is None else b"footer\r\n"
            assert await content_of(claim) == ORIGINAL + footer
            assert (claim.history.held, claim.history.held_for) == (False, "")


@pytest.mark.parametrize(
    ("verb", "left"), [("delete", []), ("retry", [Stage.HELD]), ("hold", [Stage.HELD])]
)
@pytest.mark.parametrize("change", [edit, None])
async def test_operator_can_delete_a_message_on_its_way_to_quarantine(
    opener: Opener, change: Callable[[WorkCopy], None] | None, verb: str, left: list[Stage]
) -> None:
    async with opener() as store, opener() as other:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            if change is not None:
                change(copy)
            assert await getattr(other, verb)(message)
            await claim.settle(Pass(quarantine="milter:/m: odd"))
        for stage in (Stage.UNFILTERED, Stage.READY):
            assert not await can_claim(other, message, stage)
        assert list((await stages(other)).values()) == left


@pytest.mark.parametrize("quarantine", [None, "milter:/m: odd"])
@pytest.mark.parametrize("change", [edit, None])
async def test_recipient_refused_by_a_filter_gets_nothing_and_the_others_go_on(
    opener: Opener, change: Callable[[WorkCopy], None] | None, quarantine: str | None
) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            if change is not None:
                change(copy)
            await claim.settle(Pass(quarantine, refused=attempt(0.0, bob=NEVER)))
    async with opener() as other:
        if quarantine is not None:
            assert await stages(other) == {message: Stage.HELD}
            assert await other.retry(message)  # the operator did not release it for this recipient
        async with await claimed(other, message) as claim:
            left = () if change is not None else (ANN, CAT)
            assert claim.history.refused == {BOB: NEVER}
            assert claim.history.pending(claim.envelope) == left
            assert claim.history.attempts == 0
            await claim.settle(Fail(NEVER))
        assert await other.retry(message)
        async with await claimed(other, message) as claim:
            assert claim.history.refused == {}  # now the operator wants it


async def test_untouched_copy_passes_as_it_was(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.work_copy("new")
            await claim.settle(Pass())
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == ORIGINAL
            assert claim.envelope == ENVELOPE


async def test_content_alone_may_change(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            shorten(await claim.work_copy("new"))
            await claim.settle(Pass())
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == b"short"
            assert claim.envelope == ENVELOPE


async def test_journal_is_the_originals_whatever_the_filter_wrote(opener: Opener) -> None:
    clock = Clock()
    forged = journal_format.write(attempt(clock.now, ann=OK, bob=OK, cat=OK))
    async with opener(clock) as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        accepted = (await history_of(store, message)).accepted_at
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            clock.now += 5
            copy.envelope.write_bytes(envelope_format.write(REROUTED) + forged)
            await claim.settle(Pass())
        history = await history_of(store, message)
        assert history.accepted_at == accepted
        assert history.delivered == {}
        assert history.attempts == 0


async def test_message_id_follows_the_content(opener: Opener) -> None:
    named = ENVELOPE._replace(message_id="<old@x.test>")
    async with opener() as store:
        messages = [await put(store, ORIGINAL, Stage.UNFILTERED, named) for _ in range(2)]
        headers = b"Message-ID: <new@x.test>\r\n", b"X-Filter: yes\r\n"
        for message, header in zip(messages, headers, strict=True):
            async with await claimed(store, message, Stage.UNFILTERED) as claim:
                assert claim.envelope == named
                copy = await claim.work_copy("new")
                copy.content.write_bytes(header + ORIGINAL)
                await claim.settle(Pass())
        found = [await store.describe(message) for message in messages]
        assert [each and each[1].message_id for each in found] == ["<new@x.test>", ""]


@pytest.mark.parametrize(
    "settlement",
    [Fail(NEVER), Hold(), Defer(attempt(0.0, next_attempt=0.0)), None],
    ids=["fail", "hold", "defer", "released"],
)
async def test_copy_of_a_message_that_did_not_pass_changes_nothing(
    opener: Opener, settlement: Settlement | None
) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            edit(copy)
            if settlement is not None:
                await claim.settle(settlement)
        assert not copy.content.parent.exists()
        (stage,) = (await stages(store)).values()
        async with await claimed(store, message, stage) as claim:
            assert await content_of(claim) == ORIGINAL
            assert claim.envelope == ENVELOPE


async def test_delivered_recipient_survives_a_change_of_recipients(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now, ann=OK)))
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            edit(await claim.work_copy("new"))
            await claim.settle(Pass())
        async with await claimed(store, message) as claim:
            assert claim.history.delivered == {ANN: OK}
            assert claim.history.pending(claim.envelope) == (BOB,)
