"""The histories of several stores, and of a store with a fallback, are traced as one."""

import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener, SeveralOpener
from tests.contract.mail import ANN, OK, attempt, claimed, put

from emailrelay.errors import StoreError
from emailrelay.events.event import Event
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage
from emailrelay.message_end import MessageEnd
from emailrelay.queue.trace_search import TraceSearch
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.move import Mover

WIDE = HistoryBounds(30, 100_000_000)


def search(store: Store, wanted: HistoryQuery, most: int = 0) -> TraceSearch:
    return TraceSearch(
        store=store, wanted=wanted, now=time.time(), most=most, tell=lambda _step: None
    )


async def traced(store: Store, text: str = "bob", most: int = 0) -> list[PastMessage]:
    return [found async for found in search(store, HistoryQuery(text=text), most).run()]


def ends(found: Sequence[PastMessage]) -> dict[QueueId, MessageEnd | None]:
    return {each.id: each.end for each in found}


async def deliver(store: Store, message: QueueId) -> None:
    async with await claimed(store, message) as claim:
        await claim.settle(Done(attempt(time.time(), ann=OK)))


async def test_messages_of_several_databases_come_newest_first(several: SeveralOpener) -> None:
    async with several.databases[0]() as one, several.databases[1]() as other, several() as both:
        await both.history().keep(WIDE)
        assert await one.history().bounds() == await other.history().bounds() == WIDE
        sent: list[QueueId] = []
        for store in (one, other, other, one):
            message = await put(store)
            await deliver(store, message)
            sent.append(message)
        live = await put(one)
        found = await traced(both)
        assert [each.id for each in found] == [live, *reversed(sent)]
        assert [each.id for each in await traced(both, most=2)] == [live, sent[-1]]


async def test_message_that_moved_out_of_the_fallback_is_shown_once(
    database: PostgresOpener, tmp_path: Path
) -> None:
    spool = f"spool://{tmp_path}/fallback"
    async with (
        database() as first,
        open_store(spool, report=database.reports.append) as second,
        open_store(database.url, report=database.reports.append, fallback=spool) as store,
    ):
        for opened in (first, second, store):  # as the services of each host do
            await opened.history().keep(WIDE)
        message = await put(second)
        mover = Mover(source=second, target=first, origin="here", clock=time.time, once=True)
        await mover.run()
        assert mover.left == {}
        assert ends(await traced(store)) == {message: None}, "it lives in the database"
        assert ends(await traced(second)) == {message: MessageEnd.MOVED}
        await deliver(first, message)
        (found,) = await traced(store)
        assert found.end is MessageEnd.DELIVERED
        (found,) = [each async for each in search(store, HistoryQuery(id=message)).run()]
        assert found.end is MessageEnd.DELIVERED


async def test_what_is_live_in_one_and_past_in_the_other_is_found_while_the_database_is_away(
    database: PostgresOpener, tmp_path: Path
) -> None:
    spool = f"spool://{tmp_path}/fallback"
    away = database.server.url(database.name, host=str(tmp_path))
    async with open_store(spool, report=database.reports.append) as second:
        await second.history().keep(WIDE)
        past, live = await put(second), await put(second)
        await deliver(second, past)
    async with open_store(
        away, report=database.reports.append, looking=True, fallback=spool
    ) as store:
        looking = search(store, HistoryQuery(text="bob"))
        found = [each async for each in looking.run()]
        assert ends(found) == {live: None, past: MessageEnd.DELIVERED}
        assert isinstance(looking.trouble, StoreError)
        by_id = search(store, HistoryQuery(id=past))
        assert ends([each async for each in by_id.run()]) == {past: MessageEnd.DELIVERED}


async def test_message_that_came_back_after_a_crash_is_shown_once_as_live(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        await store.history().keep(WIDE)
        message = await put(store)
        await deliver(store, message)
        found = await store.history().find(HistoryQuery(id=message)).__anext__()
        assert found.recipients[0] == ANN
        database.run(
            "insert into emailrelay.past_message select id, ended_at + interval '1 second', record"
            " from emailrelay.past_message"
        )
        assert len([m async for m in store.history().find(HistoryQuery(id=message))]) == 2
        assert ends(await traced(store)) == {message: MessageEnd.DELIVERED}


@pytest.mark.parametrize("stage", [Stage.UNFILTERED, Stage.READY])
async def test_live_message_is_traced_with_its_whole_journal(
    database: PostgresOpener, stage: Stage
) -> None:
    async with database() as store:
        message = await put(store, stage=stage)
        (found,) = await traced(store)
        assert (found.id, found.stage, len(found.entries)) == (message, stage, 1)
        assert await store.hold(message)
        (found,) = await traced(store)
        assert (found.stage, len(found.entries)) == (Stage.HELD, 2)


async def test_no_more_messages_are_read_than_are_shown(tmp_path: Path) -> None:
    # Each may have 100,000 recipients.
    reports: list[Event] = []
    async with open_store(tmp_path / "spool", report=reports.append) as store:
        sent = [await put(store) for _ in range(10)]
        asked = search(store, HistoryQuery(text="bob"), most=2)
        assert [found.id async for found in asked.run()] == [sent[-1], sent[-2]]
        assert asked.cut
        assert asked.looked_at == 3
