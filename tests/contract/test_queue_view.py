"""The queue as commands see it that only look: the same for every store that a command can open."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.contract.conftest import (
    LoggedSpoolOpener,
    PooledOpener,
    PostgresOpener,
    SeveralOpener,
    SpoolOpener,
)
from tests.contract.mail import ENVELOPE, LATER, NEVER, Opener, attempt, claimed, put

from emailrelay.errors import StoreError
from emailrelay.events.event import Event
from emailrelay.queue.search import select
from emailrelay.queue.selection import Selection
from emailrelay.queue.state import State
from emailrelay.queue_id import QueueId, arrival
from emailrelay.settlement import Defer, Done, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK
from emailrelay.store.queue_view import Listed, QueueEntry, StageCount, arrived
from emailrelay.store.quick_chooser import view_at

LARGE = b"Subject: large\r\n\r\n" + b"x" * (2 * CHUNK)


@pytest.fixture(
    params=[SpoolOpener, LoggedSpoolOpener, PostgresOpener, PooledOpener, SeveralOpener],
    ids=lambda kind: kind.__name__,
)
def viewed(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Give each store that other processes can open, too."""
    opener: Opener = request.param(tmp_path)
    return opener


async def fill(opener: Opener, now: float) -> list[QueueId]:
    """Put a ready, a deferred, a failed and a held message into the store, in this order."""
    async with opener() as store:
        messages = [await put(store) for _ in range(3)] + [await put(store, LARGE)]
        _, deferred, failed, held = messages
        async with await claimed(store, deferred) as claim:
            await claim.settle(Defer(attempt(now, ann=LATER, next_attempt=now + 900)))
        async with await claimed(store, failed) as claim:
            await claim.settle(Fail(NEVER))
        await store.hold(held)
    return messages


@pytest.fixture
def now() -> float:
    return time.time()


def test_all_that_is_known_of_each_message_is_read(viewed: Opener, now: float) -> None:
    messages = asyncio.run(fill(viewed, now))
    with view_at(viewed.place) as view:
        found = list(view.entries(view.listing()))
        assert sorted(entry.listed.id for entry in found) == sorted(messages)
        assert [e.listed.id for e in found] == sorted(messages, key=arrival), "oldest first"
        by_id = {entry.listed.id: entry for entry in found}
        stages = [by_id[message].listed.stage for message in messages]
        assert stages == [Stage.READY, Stage.READY, Stage.FAILED, Stage.HELD]
        assert all(entry.envelope == ENVELOPE for entry in found)
        deferred = by_id[messages[1]].history
        assert deferred.attempts == 1
        assert deferred.next_attempt == now + 900
        failed = by_id[messages[2]].history.failed
        assert failed is not None
        assert failed.reason == NEVER


def test_listing_can_be_narrowed_to_stages_and_ids(viewed: Opener, now: float) -> None:
    ready, deferred, failed, held = asyncio.run(fill(viewed, now))

    with view_at(viewed.place) as view:

        def ids(stages: Sequence[Stage] = tuple(Stage), *ids: str) -> set[str]:
            return {listed.id for listed in view.listing(stages, [QueueId(i) for i in ids])}

        assert ids((Stage.READY,)) == {ready, deferred}
        assert ids(tuple(Stage), held, "1.1.1", "no id", "../x") == {held}
        assert ids((Stage.READY,), held, failed) == set()


def test_message_that_moves_meanwhile_is_read_where_it_is(viewed: Opener, now: float) -> None:
    async def retry(message: QueueId) -> None:
        async with viewed() as store:
            assert await store.retry(message)

    failed = asyncio.run(fill(viewed, now))[2]
    with view_at(viewed.place) as view:
        listed = list(view.listing(ids=[failed]))
        asyncio.run(retry(failed))
        assert [entry.listed.id for entry in view.entries(listed)] == [failed]


def test_content_is_read_octet_for_octet(viewed: Opener, now: float) -> None:
    messages = asyncio.run(fill(viewed, now))
    with view_at(viewed.place) as view:
        small, large = view.content(messages[0]), view.content(messages[3])
        assert small is not None
        assert b"".join(small) == b"Subject: x\r\n\r\nx\r\n"
        assert large is not None
        assert b"".join(large) == LARGE
        for missing in ("1.1.1", "no id", "../x"):
            assert view.content(QueueId(missing)) is None


def test_counts_are_those_of_the_listing(viewed: Opener, now: float) -> None:
    messages = asyncio.run(fill(viewed, now))
    with view_at(viewed.place) as view:
        listed = {each.id: each for each in view.listing()}
        counts = {(c.stage, c.later): c for c in view.counts(now + 60)}
        quick = list(view.counts(now + 60, names_only=True))
    expected = {
        (Stage.READY, False): messages[0],
        (Stage.READY, True): messages[1],
        (Stage.FAILED, False): messages[2],
        (Stage.HELD, False): messages[3],
    }
    assert counts == {
        key: StageCount(*key, 1, listed[message].size, arrived(listed[message]))
        for key, message in expected.items()
    }

    for stage in (Stage.READY, Stage.FAILED, Stage.HELD):
        each = [count for count in counts.values() if count.stage is stage]
        found = [count for count in quick if count.stage is stage]
        assert sum(count.messages for count in found) == sum(count.messages for count in each)
        assert min(count.oldest for count in found) == min(count.oldest for count in each)


def test_message_counts_where_it_is_until_it_leaves(viewed: Opener, now: float) -> None:
    def numbers() -> dict[Stage, int]:
        with view_at(viewed.place) as view:
            return {count.stage: count.messages for count in view.counts(now, names_only=True)}

    async def course() -> None:
        async with viewed() as store:
            assert await asyncio.to_thread(numbers) == {}
            await put(store, stage=Stage.UNFILTERED)
            message = await put(store)
            claim = await claimed(store, message)
            async with claim:
                found = await asyncio.to_thread(numbers)
                assert found == {Stage.UNFILTERED: 1, Stage.READY: 1}, "also while it is claimed"
                await claim.settle(Done())
            assert await asyncio.to_thread(numbers) == {Stage.UNFILTERED: 1}

    asyncio.run(course())


def test_looking_changes_nothing(viewed: Opener, now: float) -> None:
    messages = asyncio.run(fill(viewed, now))

    async def taken() -> bool:
        async with viewed() as store:
            with_claim = await store.claim(Stage.READY, messages[0])
            if with_claim is None:
                return False
            async with with_claim:
                return True

    with view_at(viewed.place) as view:
        assert list(view.entries(view.listing()))
        assert asyncio.run(taken()), "what is looked at can be claimed"


def test_database_of_many_messages_is_read_in_pages(database: PostgresOpener) -> None:
    async def fill_it() -> None:
        async with database() as store, asyncio.TaskGroup() as group:
            for _ in range(1201):
                group.create_task(put(store))

    asyncio.run(fill_it())
    with view_at(database.place) as view:
        found = [entry.listed.id for entry in view.entries(view.listing())]
    assert len(set(found)) == 1201
    assert found == sorted(found, key=arrival)


def test_damaged_row_is_told_and_the_others_are_read(database: PostgresOpener, now: float) -> None:
    messages = asyncio.run(fill(database, now))
    database.run("update emailrelay.message set envelope = 'x' where stage = 'failed'")
    with view_at(database.place) as view:
        found = {entry.listed.id: entry for entry in view.entries(view.listing())}
    assert len(found) == 4
    assert found[messages[2]].envelope is None
    assert found[messages[2]].problem


def test_store_that_is_away_is_missed_and_the_other_is_read(
    several: SeveralOpener, now: float
) -> None:
    asyncio.run(fill(several, now))
    first = several.databases[0].place
    away = several.databases[0].server.url(several.databases[0].name, host="/nowhere")
    with view_at(f"{first} {several.databases[1].place}") as view:
        whole = [each.id for each in view.listing()]
        assert view.missing is None
    with view_at(f"{away} {several.databases[1].place}") as view:
        part = [each.id for each in view.listing()]
        assert view.missing
    assert set(part) <= set(whole)
    with pytest.raises(StoreError):
        view_at(f"{away} {away}")


def test_fallback_and_database_are_one_queue(
    database: PostgresOpener, tmp_path: Path, now: float
) -> None:
    spool = SpoolOpener(tmp_path)
    expected = asyncio.run(fill(database, now)) + asyncio.run(fill(spool, now))
    reports: list[Event] = []
    with view_at(
        database.place, fallback=f"spool://{spool.directory}", report=reports.append
    ) as view:
        found = [entry.listed.id for entry in view.entries(view.listing())]
        assert found == sorted(expected, key=arrival)
        assert view.free() is not None
    assert reports == []


def test_message_that_moves_between_listing_and_reading_is_not_selected(
    tmp_path: Path, now: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = SpoolOpener(tmp_path)
    failed = asyncio.run(fill(spool, now))[2]
    wanted = Selection(states=frozenset({State.FAILED}), sender="*")
    with view_at(spool.place) as view:
        assert [entry.listed.id for entry in select(view, wanted, now)] == [failed]
        entries, name = view.entries, spool.directory / f"emailrelay.{failed}.envelope"

        def retried_meanwhile(listed: Iterable[Listed]) -> Iterator[QueueEntry]:
            found = list(listed)
            name.with_name(f"{name.name}.bad").rename(name)
            return entries(found)

        monkeypatch.setattr(view, "entries", retried_meanwhile)
        assert list(select(view, wanted, now)) == []
