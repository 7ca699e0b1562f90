"""The search of the history page beside a store with many messages."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import claimed, put

from emailrelay.envelope import Address, Envelope
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage
from emailrelay.journal import Attempt
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.quick_chooser import view_at
from emailrelay.store.spool.history.spool_history import SpoolHistory
from emailrelay_console.mail import past_search
from emailrelay_console.mail.message_facts import find_message
from emailrelay_console.mail.past_search import (
    FoundMessage,
    PastSearch,
    SearchBusy,
    SearchResult,
    found_message,
)
from emailrelay_console.mail.queue import Queue
from emailrelay_console.mail.queue_index import QueueIndex
from emailrelay_console.mail.queue_refresh import QueueRefresh
from emailrelay_console.mail.reader import QueueReader
from emailrelay_console.mail.store_holder import StoreHolder


def no_routes(_envelope: Envelope, _recipients: object) -> tuple[str, ...]:
    return ()


async def fill(opener: SpoolOpener) -> dict[str, QueueId]:
    found, now = dict[str, QueueId](), time.time()
    async with opener() as store:
        await store.history().keep(HistoryBounds(10, 10**8))
        for name in ("past", "live"):
            to = Address(f"{name}@y.test")
            envelope = Envelope(sender=Address("news@x.test"), to_remote=(to,))
            found[name] = await put(store, envelope=envelope)
            async with await claimed(store, found[name]) as claim:
                said = {to: Reply(451 if name == "live" else 250, "greylisted or taken")}
                tried = Attempt(at=now, peer="mx", replies=said, next_attempt=now + 900)
                await claim.settle(Defer(tried) if name == "live" else Done(tried))
    return found


@pytest.mark.parametrize("few", [0, 100])
async def test_a_search_finds_live_and_past_mail_by_index_or_by_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(past_search, "_FEW", few)
    opener = SpoolOpener(tmp_path)
    messages = await fill(opener)
    reader, index = QueueReader(lambda: view_at(opener.place)), QueueIndex(no_routes)
    refresh = QueueRefresh(lambda: view_at(opener.place), index)
    queue = Queue(reader, index, refresh, time.time)
    try:
        async with StoreHolder(opener) as holder:
            search = PastSearch(holder, queue, time.time)
            while (await queue.state()).unread:
                pass

            async def found(text: str) -> SearchResult[FoundMessage]:
                return await search.find(HistoryQuery(text=text), text, shown=found_message)

            both = await found("news@x.test")
            assert [each.id for each in both.messages] == [messages["live"], messages["past"]]
            assert both.indexed == (few == 0)
            assert [each.state for each in (await found("greylisted")).messages] == [
                "deferred",
                "delivered",
            ]
            assert (await found("nothing like it")).messages == []
            one = await search.find(
                HistoryQuery(id=messages["past"]), messages["past"], shown=found_message
            )
            assert [each.id for each in one.messages] == [messages["past"]]
            monkeypatch.setattr(past_search, "_AT_ONCE", 0)
            with pytest.raises(SearchBusy, match="try again"):
                await found("x")
    finally:
        refresh.close()
        reader.close()


async def test_message_that_has_just_left_is_found_when_its_record_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = SpoolOpener(tmp_path)
    message = (await fill(opener))["past"]
    looks, find = list[HistoryQuery](), SpoolHistory.find

    async def late(history: SpoolHistory, wanted: HistoryQuery) -> AsyncIterator[PastMessage]:
        looks.append(wanted)
        if len(looks) > 1:
            async for found in find(history, wanted):
                yield found

    monkeypatch.setattr(SpoolHistory, "find", late)
    reader = QueueReader(lambda: view_at(opener.place))
    try:
        async with StoreHolder(opener) as holder:
            facts = await find_message(message, reader, holder, time.time())
            assert facts is not None
            assert facts.past.id == message
            assert await find_message(QueueId("1.1.1"), reader, holder, time.time()) is None
    finally:
        reader.close()
