"""The history of a spool as files: a day each, within bounds, searched in order."""

import json
import os
import stat

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, OK, Clock, attempt, claimed, descriptors, put
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
from emailrelay.settlement import Done
from emailrelay.store.mail_history import HistoryBounds, SearchStep
from emailrelay.store.spool.history import day_files, history_search, history_writer


@pytest.fixture(autouse=True)
def _look_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the bounds and the file before each record, and not once a second."""
    monkeypatch.setattr(history_writer, "_LOOK", 0.0)


async def test_each_day_has_a_file_for_owner_and_group_that_json_tools_read(
    spool: SpoolOpener,
) -> None:
    clock = Clock(MIDDAY)
    before = os.umask(0o077)
    try:
        async with spool(clock) as store:
            await store.history().keep(WIDE)
            first = await leave(store)
            clock.now += DAY
            second = await leave(store)
            assert await ids(store) == [second, first]
    finally:
        os.umask(before)
    assert names(spool) == ["2026-11-29.jsonl", "2026-11-30.jsonl"]
    for name in names(spool):
        path = directory(spool) / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        (line,) = path.read_text().splitlines()
        assert json.loads(line)["end"] == "delivered"
    assert stat.S_IMODE(directory(spool).stat().st_mode) & 0o777 == 0o770


async def test_days_beyond_the_bounds_go_when_a_day_begins(spool: SpoolOpener) -> None:
    clock = Clock(MIDDAY)
    async with spool(clock) as store:
        await store.history().keep(HistoryBounds(2, 1_000_000))
        for _ in range(5):
            await leave(store)
            clock.now += DAY
    assert names(spool) == ["2026-12-01.jsonl", "2026-12-02.jsonl", "2026-12-03.jsonl"]


async def test_old_days_go_without_new_mail(spool: SpoolOpener) -> None:
    clock = Clock(MIDDAY)
    async with spool(clock) as store:
        await store.history().keep(HistoryBounds(2, 1_000_000))
        await leave(store)
    clock.now += 4 * DAY
    async with spool(clock):  # the first sweep is part of the opening
        pass
    assert names(spool) == []


async def test_octets_stay_within_the_bounds_and_the_newest_records_stay(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_files, "_LEAST", 1000)
    most = 20_000
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(HistoryBounds(2, most))
        left = [await leave(store) for _ in range(100)]
        kept = await ids(store)
    total = sum(path.stat().st_size for path in directory(spool).glob("*.jsonl"))
    assert most / 2 < total <= most + most // 8 + 1000
    assert kept == left[::-1][: len(kept)]
    assert len(names(spool)) > 4


async def test_a_large_file_is_closed_once_by_several_processes(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(day_files, "_LEAST", 1000)
    async with spool(Clock(MIDDAY)) as one, spool(Clock(MIDDAY)) as other:
        await one.history().keep(HistoryBounds(2, 8000))
        left = [await leave(store) for _ in range(6) for store in (one, other)]
        assert set(await ids(one)) == set(left)
    assert "2026-11-29.jsonl" in names(spool)


@pytest.mark.parametrize("piece", [4096, 8192])
async def test_every_record_of_many_is_found_once_and_in_order(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    monkeypatch.setattr(history_search, "_PIECE", piece)
    monkeypatch.setattr(history_search, "_SLACK", 2.0)
    records = [record(n, MIDDAY + n / 10, size=n * 37 % 1000) for n in range(300)]
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        fill(spool, records[:100], "2026-11-29.0001.jsonl")
        fill(spool, records[100:])
        assert await ids(store) == [each.id for each in reversed(records)]
        steps: list[SearchStep] = []
        found = [
            m async for m in store.history().find(HistoryQuery(text="s7@x.test"), steps.append)
        ]
        assert [each.id for each in found] == [records[7].id]
        assert steps[-1].done == steps[-1].total
        for each in records[::7]:
            assert await has(store, each.id)


async def test_id_is_found_on_a_later_day_and_after_the_clock_was_set_back(
    spool: SpoolOpener,
) -> None:
    late = record(1, MIDDAY)._replace(ended=MIDDAY + 3 * DAY)
    early = record(2, MIDDAY)._replace(ended=MIDDAY - DAY)
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        fill(spool, [late], "2026-12-02.jsonl")
        fill(spool, [early], "2026-11-28.jsonl")
        assert await has(store, late.id)
        assert await has(store, early.id)


async def test_since_leaves_older_files_unread(spool: SpoolOpener) -> None:
    old, new = record(1, MIDDAY - 3 * DAY), record(2, MIDDAY)
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        fill(spool, [old], "2026-11-26.jsonl")
        fill(spool, [new])
        wanted = HistoryQuery(text="bob", since=MIDDAY - DAY)
        places = set[str]()
        found = [m async for m in store.history().find(wanted, lambda s: places.add(s.place))]
        assert [each.id for each in found] == [new.id]
        assert places == {"2026-11-29.jsonl"}


async def test_record_of_many_recipients_is_bounded(spool: SpoolOpener) -> None:
    many = tuple(Address(f"{n}{'x' * 200}@y.test") for n in range(20_000))
    async with spool(Clock(MIDDAY)) as store:
        await store.history().keep(WIDE)
        message = await put(store, envelope=ENVELOPE._replace(to_remote=many))
        async with await claimed(store, message) as claim:
            replies = dict.fromkeys(many, OK)
            tried = attempt(1.0, ann=OK)
            await claim.settle(Done(type(tried)(at=1.0, peer="p", replies=replies)))
        (found,) = [m async for m in store.history().find(HistoryQuery(id=message))]
        assert len(found.recipients) + found.more == len(many)
        assert found.more > 0
    size = (directory(spool) / "2026-11-29.jsonl").stat().st_size
    assert size <= history_record.LARGEST


async def test_one_system_call_writes_a_record_and_nothing_syncs_it(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_writer, "_LOOK", 3600.0)
    async with spool() as store:
        await store.history().keep(WIDE)
        await leave(store)
        writes: list[bytes] = []
        real = os.write

        def counting(descriptor: int, octets: bytes) -> int:
            if b'"journal"' in octets:
                writes.append(octets)
            return real(descriptor, octets)

        monkeypatch.setattr(os, "write", counting)
        before = descriptors()
        await leave(store)
        assert descriptors() == before
    assert len(writes) == 1
    assert writes[0].endswith(b"\n")


async def test_commands_write_records_and_never_make_a_history(spool: SpoolOpener) -> None:
    async with spool() as store:
        message = await put(store)
        assert await store.delete(message)
    assert not directory(spool).exists()
