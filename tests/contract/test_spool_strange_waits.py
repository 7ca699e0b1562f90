"""Files that a member of the spool's group puts where clients wait: each client gets its answer."""

import asyncio
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, NEVER, OK, PATIENCE, claimed, stages

from emailrelay.ack import Ack
from emailrelay.events.store import PossibleDuplicate
from emailrelay.reply import Reply
from emailrelay.settlement import Done, Fail, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.draft import Draft
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.marks import final_dots

PEER = "mx.test:25"
SLOT = 512
SPARSE = 65 * 1024 * 1024


async def waits(store: Store, ack: Ack) -> Draft:
    draft = store.draft(ENVELOPE)
    draft.write(b"Subject: x\r\n\r\n")
    await draft.commit(Stage.UNFILTERED if ack is Ack.FILTERED else Stage.READY, ack)
    return draft


async def answered(draft: Draft, within: float = PATIENCE) -> Reply | None:
    async with asyncio.timeout(PATIENCE):
        return await draft.answer(within)


def closed(path: Path) -> None:
    path.write_bytes(b"x")
    path.chmod(0)


def large(path: Path) -> None:
    path.touch()
    os.truncate(path, SPARSE)


def directory(path: Path) -> None:
    path.mkdir()


def empty(path: Path) -> None:
    path.touch()


STRANGE = pytest.mark.parametrize("strange", [closed, large, directory, empty])


@STRANGE
async def test_strange_file_in_place_of_a_reply_is_no_answer(
    spool: SpoolOpener, strange: Callable[[Path], None]
) -> None:
    async with spool() as store, await waits(store, Ack.DELIVERED) as draft:
        strange(spool.directory / ".waiting" / f"{draft.id}.reply")
        assert await answered(draft, within=0.01) is None
        assert await stages(store) == {}


@STRANGE
async def test_reply_of_the_forwarder_counts_beside_a_strange_file(
    spool: SpoolOpener, strange: Callable[[Path], None]
) -> None:
    async with spool() as store, spool() as other, await waits(store, Ack.DELIVERED) as draft:
        waiting = asyncio.create_task(answered(draft))
        strange(spool.directory / ".waiting" / f"{draft.id}.reply")
        async with await claimed(other, draft.id) as claim:
            assert await claim.settle(Done(), answer=OK)
        assert await waiting == OK


@STRANGE
async def test_strange_file_in_place_of_the_filters_answer_is_none(
    spool: SpoolOpener, strange: Callable[[Path], None]
) -> None:
    async with spool() as store, await waits(store, Ack.FILTERED) as draft:
        strange(spool.directory / ".waiting" / f"{draft.id}.answer")
        assert await answered(draft, within=0.01) is None
        assert await stages(store) == {draft.id: Stage.UNFILTERED}


async def test_filters_answer_after_a_strange_file(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, await waits(store, Ack.FILTERED) as draft:
        empty(spool.directory / ".waiting" / f"{draft.id}.answer")
        waiting = asyncio.create_task(answered(draft))
        async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
            await claim.settle(Pass(), answer=OK)
        assert await waiting == OK


@pytest.mark.parametrize("octets", [b"nonsense\n", bytes(10_000)], ids=["line", "large"])
async def test_client_keeps_a_message_whose_answer_was_spoilt(
    spool: SpoolOpener, octets: bytes
) -> None:
    async with spool() as store, spool() as other, await waits(store, Ack.FILTERED) as draft:
        shutil.rmtree(spool.directory / ".wake")  # the receiver looks later
        async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
            await claim.settle(Fail(NEVER), answer=NEVER)
        with (spool.directory / ".waiting" / f"{draft.id}.answer").open("ab") as file:
            file.write(octets)
        reply = await answered(draft)
        assert reply is not None
        assert reply.code == 451
        assert await stages(store) == {}


async def test_client_keeps_a_message_whose_answer_cannot_be_taken_away(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_away = files.take_away

    def refused(at: Location) -> None:
        if at.name.endswith(".answer"):
            raise OSError(errno.EROFS, "read-only")
        take_away(at)

    async with spool() as store, spool() as other, await waits(store, Ack.FILTERED) as draft:
        monkeypatch.setattr(files, "take_away", refused)
        async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
            await claim.settle(Fail(NEVER), answer=NEVER)
        reply = await answered(draft, within=0.01)
        monkeypatch.undo()
        assert reply is not None
        assert reply.code == 451


def sheets(spool: SpoolOpener) -> Path:
    return spool.directory / ".doubt"


async def test_strange_files_beside_a_note_of_a_dot_change_nothing(spool: SpoolOpener) -> None:
    async with spool() as store, spool() as other, await waits(store, Ack.DELIVERED) as draft:
        begin = f" {draft.id} ".encode()
        for number, octets in enumerate([begin + b"\n", b"x" + begin + b"elsewhere\n", begin]):
            (sheets(spool) / f"1.{number}").write_bytes(octets)
            (sheets(spool) / f"1.{number:08x}").write_bytes(b"\n" + octets)
        closed(sheets(spool) / "1.99999999")
        large(sheets(spool) / "2.99999999")
        directory(sheets(spool) / "3.99999999")
        async with await claimed(other, draft.id) as claim:
            assert await claim.before_dot(PEER)
            assert await answered(draft, within=0) is None
            named = [each for each in spool.reports if isinstance(each, PossibleDuplicate)]
            assert named == [PossibleDuplicate(id=draft.id, peer=PEER)]
            await claim.settle(Done())


async def test_note_without_a_server_names_none(spool: SpoolOpener) -> None:
    async with spool() as store, await waits(store, Ack.DELIVERED) as draft:
        (sheets(spool) / "1.00000000").write_bytes(f" {draft.id} ".encode().ljust(SLOT))
        assert await answered(draft, within=0) is None
        assert await stages(store) == {}
        assert not [each for each in spool.reports if isinstance(each, PossibleDuplicate)]


async def test_bounded_number_of_octets_is_read_to_find_a_note(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final_dots, "_MOST_FILES", 3)
    async with spool() as store, await waits(store, Ack.DELIVERED) as draft:
        for number in range(9):
            large(sheets(spool) / f"1.{number:08x}")
        counts, original = list[int](), os.pread

        def noted(descriptor: int, length: int, offset: int) -> bytes:
            octets = original(descriptor, length, offset)
            counts.append(len(octets))
            return octets

        monkeypatch.setattr(os, "pread", noted)
        assert await answered(draft, within=0) is None
        assert 0 < sum(counts) <= 3 * 2048 * SLOT + 4096
