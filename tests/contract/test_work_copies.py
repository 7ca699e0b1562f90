"""Filters work on a private copy; a Pass makes it the message, every other result discards it."""

import os
import shutil
import stat
from collections.abc import Callable

import pytest
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
    listed,
    put,
    stages,
)

from emailrelay import envelope_format, journal_format
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events.store import TakenIn
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim, WorkCopy
from emailrelay.store.postgres.message.draft import PostgresDraft
from emailrelay.store.spool.message.draft import SpoolDraft

ORIGINAL = b"Subject: original\r\n\r\noriginal\r\n"
REROUTED = Envelope(
    sender=Address("other@x.test"), to_remote=(BOB,), forward_to_address="127.0.0.1:2525"
)


def edit(copy: WorkCopy) -> None:
    """Change both files in place."""
    with copy.content.open("ab") as content:
        content.write(b"footer\r\n")
    copy.envelope.write_bytes(envelope_format.write(REROUTED))


def replace(copy: WorkCopy) -> None:
    """Put new files in place of both, as editors do."""
    directory = copy.content.parent
    (directory / "scratch").write_bytes(ORIGINAL + b"footer\r\n")
    (directory / "scratch").rename(copy.content)
    (directory / "scratch").write_bytes(envelope_format.write(REROUTED))
    (directory / "scratch").rename(copy.envelope)


def shorten(copy: WorkCopy) -> None:
    """Cut the content, and do not change the envelope."""
    copy.content.write_bytes(b"short")


def add_pair(copy: WorkCopy, name: str, content: bytes, suffix: str = "") -> None:
    """Put a new message beside the copy, as a filter that sends mail of its own does."""
    directory = copy.content.parent
    (directory / f"emailrelay.{name}.content").write_bytes(content)
    envelope = directory / f"emailrelay.{name}.envelope{suffix}"
    envelope.write_bytes(envelope_format.write(REROUTED))


async def test_copy_is_the_message_and_private(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            assert copy.content.is_absolute()
            assert copy.envelope.is_absolute()
            assert copy.content.read_bytes() == ORIGINAL
            assert envelope_format.parse(copy.envelope.read_bytes()).envelope == ENVELOPE
            assert copy.content.name == f"emailrelay.{message}.content"
            assert copy.envelope.name == f"emailrelay.{message}.envelope.new"
            directory = copy.content.parent
            assert set(directory.iterdir()) == {copy.content, copy.envelope}
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700
            for path in (copy.content, copy.envelope):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                assert path.stat().st_uid == os.geteuid()
        assert not directory.exists()


async def test_copy_shows_what_happened_before(opener: Opener) -> None:
    clock = Clock()
    async with opener(clock) as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            await claim.settle(Defer(attempt(clock.now, next_attempt=clock.now, ann=OK)))
        async with await claimed(store, message) as claim:
            copy = await claim.work_copy("busy")
            tail = envelope_format.parse(copy.envelope.read_bytes()).tail
            assert journal_format.history(tail) == claim.history


async def test_fresh_copy_replaces_an_earlier_one(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL)
        async with await claimed(store, message) as claim:
            edit(await claim.work_copy("busy"))
            copy = await claim.work_copy("busy")
            assert copy.content.read_bytes() == ORIGINAL
            assert envelope_format.parse(copy.envelope.read_bytes()).envelope == ENVELOPE


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


@pytest.mark.parametrize("change", [edit, replace, shorten])
async def test_touched_copy_is_told_from_an_untouched_one(
    opener: Opener, change: Callable[[WorkCopy], None]
) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert not claim.touched()  # there is none
            await claim.work_copy("new")
            assert not claim.touched()
            change(await claim.work_copy("new"))
            assert claim.touched()


async def test_a_copy_out_of_reach_is_a_touched_one(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            directory = (await claim.work_copy("new")).content.parent
            shutil.rmtree(directory)
            directory.write_bytes(b"a file")
            assert claim.touched()
            directory.unlink()


async def test_what_happens_to_a_copy_found_untouched_is_not_adopted(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            assert not claim.touched()
            edit(copy)
            await claim.settle(Pass())
        assert not copy.content.parent.exists()
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


async def test_same_length_change_is_noticed(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, b"aaaa", Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            before = copy.content.stat()
            with copy.content.open("r+b") as content:
                content.write(b"bbbb")
            os.utime(copy.content, ns=(before.st_atime_ns, before.st_mtime_ns))
            await claim.settle(Pass())
        async with await claimed(store, message) as claim:
            assert await content_of(claim) == b"bbbb"


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


@pytest.mark.parametrize("name", ["content", "envelope"])
async def test_copy_without_a_file_is_not_adopted(opener: Opener, name: str) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            {"content": copy.content, "envelope": copy.envelope}[name].unlink()
            with pytest.raises(StoreError):
                await claim.settle(Pass())
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert await content_of(claim) == ORIGINAL
            assert claim.envelope == ENVELOPE


@pytest.mark.parametrize("octets", [b"", b"X-MailRelay-Format: #2821.8\r\n", b"garbage\n"])
async def test_damaged_envelope_is_not_adopted(opener: Opener, octets: bytes) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            copy = await claim.work_copy("new")
            copy.envelope.write_bytes(octets)
            with pytest.raises(StoreError):
                await claim.settle(Pass())
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            assert claim.envelope == ENVELOPE


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
                patch.setattr(SpoolDraft, "commit", full)
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


@pytest.mark.parametrize("stage", [Stage.UNFILTERED, Stage.READY])
async def test_copy_in_use_is_left_alone_by_another_opener(opener: Opener, stage: Stage) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL, stage)
        async with await claimed(store, message, stage) as claim:
            copy = await claim.work_copy("new")
            async with opener() as other:
                await put(other)
            assert copy.content.read_bytes() == ORIGINAL
            assert copy.envelope.stat().st_size > 0
