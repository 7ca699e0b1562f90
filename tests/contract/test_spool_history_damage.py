"""The history of a spool among damage, enemies, a full disk and kills: no mail is lost."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import Clock, claimed, put
from tests.contract.spool_records import (
    DAY,
    MIDDAY,
    WIDE,
    directory,
    fill,
    has,
    ids,
    leave,
    names,
    record,
)

from emailrelay import history_record
from emailrelay.envelope import Address
from emailrelay.history_query import HistoryQuery
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.store.base import Store
from emailrelay.store.mail_history import SearchStep
from emailrelay.store.spool.history import history_search, history_writer


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the bounds and the file before each record, and not once a second."""
    monkeypatch.setattr(history_writer, "_LOOK", 0.0)


async def unread(store: Store, wanted: HistoryQuery) -> dict[str, str]:
    """Give the files of which a part was passed over, with the reason."""
    steps: list[SearchStep] = []
    async for _ in store.history().find(wanted, steps.append):
        pass
    return {step.place: step.unread for step in steps if step.unread}


async def test_torn_and_foreign_lines_hide_no_others(spool: SpoolOpener) -> None:
    first, second, third = (record(n, MIDDAY + n) for n in range(3))
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        lines = [
            b"\x00\xff\n",
            history_record.write(first),
            b'{"v":2,"id":"1.2.3","ended":1,"new":"form bob@y.test"}\n',
            b'{"v":1,"id":"1.2.4","ended":"bob@y.test"}\n',
            b"[" * 100_000 + b'"bob@y.test"\n',
            # A full disk has cut a record, and the next one follows on its line.
            history_record.write(second)[:150] + history_record.write(third),
            history_record.write(second)[:150],
        ]
        (directory(spool) / "2026-11-29.jsonl").write_bytes(b"".join(lines))
        assert await ids(store) == [third.id, first.id]
        assert await has(store, third.id)
        assert not await has(store, second.id)
        for wanted in (HistoryQuery(text="bob"), HistoryQuery(id=QueueId("1.2.4"))):
            ((place, reason),) = (await unread(store, wanted)).items()
            assert (place, "damaged records" in reason) == ("2026-11-29.jsonl", True)
        assert await unread(store, HistoryQuery(id=third.id)) == {}
        after = await leave(store)  # it comes behind a torn line
        assert await has(store, after)


@pytest.mark.parametrize("text", ["<>", "*"])
async def test_text_without_a_needle_tells_of_no_damage(spool: SpoolOpener, text: str) -> None:
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        bounce = record(1, MIDDAY)._replace(sender=Address(""))
        fill(spool, [bounce])
        assert await ids(store, text) == [bounce.id]
        assert await unread(store, HistoryQuery(text=text)) == {}


async def test_line_without_end_is_passed_over(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_search, "_PIECE", 4096)
    first, second = record(1, MIDDAY), record(2, MIDDAY + 1)
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        (directory(spool) / "2026-11-29.jsonl").write_bytes(
            history_record.write(first) + b"bob " * 10_000 + b"\n" + history_record.write(second)
        )
        assert await ids(store) == [second.id, first.id]
        assert await has(store, first.id)
        assert await has(store, second.id)
        # The word stands in no record: the first piece of the line would count as a damaged one.
        reason = (await unread(store, HistoryQuery(text="zzz")))["2026-11-29.jsonl"]
        assert "without a line end" in reason


async def test_endless_file_ends_the_search_of_that_file(spool: SpoolOpener) -> None:
    kept = record(1, MIDDAY - DAY)
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        fill(spool, [kept], "2026-11-28.jsonl")
        with (directory(spool) / "2026-11-29.jsonl").open("wb") as file:
            file.truncate(8 * 1024**4)  # a hole, which takes no room
        assert await ids(store) == [kept.id]
        assert not await has(store, record(2, MIDDAY).id)
        for wanted in (HistoryQuery(text="bob"), HistoryQuery(id=record(2, MIDDAY).id)):
            assert list(await unread(store, wanted)) == ["2026-11-29.jsonl"]


async def test_directory_with_the_name_of_an_old_day_stops_no_history(spool: SpoolOpener) -> None:
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        (directory(spool) / "2020-01-01.jsonl").mkdir()
        fill(spool, [record(1, MIDDAY - 99 * DAY)], "2026-08-22.jsonl")
        await store.history().keep(WIDE)
        message = await leave(store)
        assert await ids(store) == [message]
        assert names(spool) == ["2020-01-01.jsonl", "2026-11-29.jsonl"]
    assert spool.reports == []


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory", "hard link"])
async def test_strange_file_in_the_place_of_a_day_gets_nothing_and_stops_no_mail(
    spool: SpoolOpener, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "target"
    target.write_text("bob@y.test\n")
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        place = directory(spool) / "2026-11-29.jsonl"
        match kind:
            case "link":
                place.symlink_to(target)
            case "dangling":
                place.symlink_to(tmp_path / "none")
            case "fifo":
                os.mkfifo(place)
            case "directory":
                place.mkdir()
            case _:
                place.hardlink_to(target)
        message = await leave(store)
        assert await store.describe(message) is None
        assert await ids(store) == []
        for wanted in (HistoryQuery(text="bob"), HistoryQuery(id=record(1, MIDDAY).id)):
            assert "not a regular file" in (await unread(store, wanted))["2026-11-29.jsonl"]
        assert [type(event).__name__ for event in spool.reports] == ["StoreTrouble"]
    assert target.read_text() == "bob@y.test\n"
    assert not (tmp_path / "none").exists()


async def test_link_in_the_place_of_the_directory_gets_nothing(
    spool: SpoolOpener, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with spool() as store:
        await store.history().keep(WIDE)
        (directory(spool) / "bounds").unlink()
        directory(spool).rmdir()
        directory(spool).symlink_to(elsewhere)
    async with spool() as store:
        message = await leave(store)
        assert await store.describe(message) is None
    assert list(elsewhere.iterdir()) == []


async def test_removed_directory_and_file_are_made_again(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay.store.spool.disk.directory._LOOK", 0.0)
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        await leave(store)
        (directory(spool) / "2026-11-29.jsonl").unlink()
        after_file = await leave(store)
        assert await ids(store) == [after_file]
        for path in directory(spool).iterdir():
            path.unlink()
        directory(spool).rmdir()
        after_directory = await leave(store)
        assert await ids(store) == [after_directory]


async def test_full_disk_costs_records_and_no_mail(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        before = await leave(store)
        assert await ids(store) == [before]
        real = os.write

        def full(descriptor: int, octets: bytes) -> int:
            if b'"journal"' not in octets:
                return real(descriptor, octets)
            real(descriptor, octets[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "write", full)
        lost = [await leave(store) for _ in range(3)]
        assert await ids(store) == [before]  # also writes what waits for the end of the turn
        monkeypatch.undo()
        monkeypatch.setattr(history_writer, "_LOOK", 0.0)
        after = await leave(store)
        assert [await store.describe(message) for message in lost] == [None] * 3
        assert await ids(store) == [after, before]
    told = [str(event) for event in spool.reports]
    assert len(told) == 1, "trouble with the history is reported once a minute"
    assert "No space left" in told[0]


async def test_little_room_on_the_disk_is_left_to_mail(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        monkeypatch.setattr(history_writer, "_ROOM", 1 << 60)
        monkeypatch.setattr(history_writer, "_ROOM_PART", 1)
        message = await leave(store)
        assert await store.describe(message) is None
        assert await ids(store) == []


_DYING = """
import asyncio, os, signal, sys
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.history.history_writer import HistoryWriter

place, sync, message, after = sys.argv[1:]
real = HistoryWriter.add

def add(self, record):
    if after == "after":
        real(self, record)
        self.write_gathered()
    os.kill(os.getpid(), signal.SIGKILL)

HistoryWriter.add = add

async def main():
    async with open_store(place, report=print, sync=SpoolSync(sync)) as store:
        claim = await store.claim(Stage.READY, QueueId(message))
        async with claim:
            await claim.settle(Done())

asyncio.run(main())
"""


def run(command: list[str]) -> int:
    return subprocess.run(command, check=False, timeout=60).returncode


@pytest.mark.parametrize("kill", ["before", "after"])
async def test_kill_at_the_record_costs_the_record_at_most_and_no_mail(
    spool: SpoolOpener, kill: str
) -> None:
    async with spool() as store:
        await store.history().keep(WIDE)
        message, other = await put(store), await put(store)
    script = [sys.executable, "-c", _DYING, spool.place, spool.sync.value, message, kill]
    assert run(script) == -signal.SIGKILL
    async with spool() as store:
        assert await store.describe(message) is None, "the message had left before its record"
        assert await has(store, message) is (kill == "after")
        async with await claimed(store, other) as claim:
            await claim.settle(Done())
        assert await has(store, other)
