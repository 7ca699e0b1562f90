"""Filters work on a private copy, and a change of it is noticed."""

import os
import shutil
import stat
from collections.abc import Callable

import pytest
from tests.contract.copies import ORIGINAL, edit, replace, shorten
from tests.contract.mail import (
    ENVELOPE,
    OK,
    Clock,
    Opener,
    attempt,
    claimed,
    content_of,
    put,
)

from emailrelay import envelope_format, journal_format
from emailrelay.errors import StoreError
from emailrelay.settlement import Defer, Pass
from emailrelay.stage import Stage
from emailrelay.store.claim import WorkCopy


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


async def test_program_of_a_dead_process_does_not_find_the_next_copy(opener: Opener) -> None:
    async with opener() as store, opener() as other:
        message = await put(store, ORIGINAL, Stage.UNFILTERED)
        async with await claimed(store, message, Stage.UNFILTERED) as claim:
            old = await claim.work_copy("new")
        async with await claimed(other, message, Stage.UNFILTERED) as claim:
            new = await claim.work_copy("new")
            assert new.content.read_bytes() == ORIGINAL
            assert not old.content.exists()
            assert not old.envelope.exists()


async def test_fresh_copy_replaces_an_earlier_one(opener: Opener) -> None:
    async with opener() as store:
        message = await put(store, ORIGINAL)
        async with await claimed(store, message) as claim:
            edit(await claim.work_copy("busy"))
            copy = await claim.work_copy("busy")
            assert copy.content.read_bytes() == ORIGINAL
            assert envelope_format.parse(copy.envelope.read_bytes()).envelope == ENVELOPE


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
