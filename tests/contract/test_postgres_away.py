"""The database goes away and comes back: nothing is lost, nothing comes twice, and all recover."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import (
    ENVELOPE,
    NEVER,
    OK,
    PATIENCE,
    claimed,
    content_of,
    listed,
    next_of,
    put,
    stages,
)

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events.store import PossibleDuplicate, StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.chooser import open_store
from emailrelay.store.draft import Draft
from emailrelay.store.postgres.message import committing


@asynccontextmanager
async def cut_off(database: PostgresOpener) -> AsyncGenerator[tuple[Store, DatabaseProxy]]:
    """Open a store whose connections can be lost."""
    async with DatabaseProxy.before(database.server.directory) as proxy:
        url = database.server.url(database.name, host=str(proxy.directory))
        async with open_store(url, report=database.reports.append) as store:
            yield store, proxy


async def back(store: Store) -> None:
    """Wait until the store has reached its database again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await store.entrance()
            except StoreError:
                await asyncio.sleep(0.01)
            else:
                return


async def test_lost_answer_to_a_commit_is_asked_for_again(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        proxy.lose_answer_to = b"commit"
        message = await put(store, b"once")
        assert proxy.lost.is_set()
        assert await stages(other) == {message: Stage.READY}
        async with await claimed(other, message) as claim:
            assert await content_of(claim) == b"once"


async def test_commit_that_did_not_arrive_is_made_again(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        proxy.lose_before = b"commit"
        message = await put(store, b"once")
        assert proxy.lost.is_set()
        assert await stages(other) == {message: Stage.READY}


async def test_message_delivered_before_its_commit_was_known_does_not_come_back(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        proxy.lose_answer_to = b"commit"
        committing = asyncio.create_task(put(store))
        async with asyncio.timeout(PATIENCE):
            await proxy.lost.wait()
            proxy.refuses = True
            async with other.feed(Stage.READY) as feed, await next_of(feed) as claim:
                await claim.settle(Done())
            proxy.refuses = False
            assert await committing == claim.id
        assert await listed(other) == {}
        assert database.run("select count(*) from emailrelay.body") == [(0,)]


async def test_lost_answer_to_the_commit_of_a_large_message(database: PostgresOpener) -> None:
    content = bytes(5 * CHUNK)
    async with cut_off(database) as (store, proxy), database() as other:
        draft = store.draft(ENVELOPE)
        for _ in range(5):
            if not draft.write(bytes(CHUNK)):
                await draft.drain()
        proxy.lose_answer_to = b"commit"
        await draft.commit(Stage.READY)
        assert proxy.lost.is_set()
        async with await claimed(other, draft.id) as claim:
            assert await content_of(claim) == content
        assert database.run("select count(*) from emailrelay.draft") == [(0,)]


async def test_lost_answer_to_a_settlement_counts(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        claim = await claimed(store, await put(other))
        proxy.lose_answer_to = b"commit"
        await claim.settle(Done())
        assert proxy.lost.is_set()
        assert await listed(other) == {}


async def test_settlement_that_did_not_arrive_is_made_again(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        claim = await claimed(store, await put(other))
        proxy.lose_before = b"commit"
        await claim.settle(Done())
        assert proxy.lost.is_set()
        assert await listed(other) == {}


async def test_draft_is_refused_at_once_while_the_database_is_away(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy):
        proxy.refuses = True
        proxy.cut()
        with pytest.raises(StoreError):
            await put(store)
        with pytest.raises(StoreError):
            store.draft(ENVELOPE)
        proxy.refuses = False
        await back(store)
        await put(store)
        assert database.kinds().count("StoreTrouble") == 1


@pytest.mark.parametrize("how", ["refuses", "silent"])
async def test_idle_store_notices_that_the_database_is_away(
    database: PostgresOpener, how: str
) -> None:
    async with cut_off(database) as (store, proxy):
        assert store.unavailable() is None
        setattr(proxy, how, True)
        if how == "refuses":
            proxy.cut()
        async with asyncio.timeout(PATIENCE):
            while store.unavailable() is None:  # noqa: ASYNC110 -- it is seen by asking
                await asyncio.sleep(0.01)
        setattr(proxy, how, False)
        proxy.cut()
        await back(store)
        assert store.unavailable() is None


async def test_waiting_feed_outlives_the_database(database: PostgresOpener) -> None:
    async with (
        cut_off(database) as (store, proxy),
        database() as other,
        store.feed(Stage.READY) as feed,
    ):
        waiting = asyncio.create_task(next_of(feed))
        await asyncio.sleep(0)
        proxy.refuses = True
        proxy.cut()
        message = await put(other)
        proxy.refuses = False
        async with await waiting as claim:
            assert claim.id == message


async def test_connections_ended_by_the_server_are_replaced(database: PostgresOpener) -> None:
    async with database() as store:
        await put(store)
        database.run(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        await put(store)
        assert len(await listed(store)) == 2
        assert "StoreTrouble" not in database.kinds()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have receivers give up asking for the fate of a commit soon."""
    monkeypatch.setattr(committing, "PATIENCE", 0.2)


async def commit_of_unknown_fate(store: Store, proxy: DatabaseProxy) -> None:
    """Commit a message while the answer is lost, and the database away for longer than patience."""
    proxy.lose_answer_to = b"commit"
    committing = asyncio.create_task(put(store))
    async with asyncio.timeout(PATIENCE):
        await proxy.lost.wait()
        proxy.refuses = True
        with pytest.raises(StoreError):
            await committing


def duplicates(database: PostgresOpener) -> list[QueueId]:
    return [event.id for event in database.reports if isinstance(event, PossibleDuplicate)]


@pytest.mark.usefixtures("impatient")
async def test_commit_that_its_client_was_refused_is_taken_back(database: PostgresOpener) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        await commit_of_unknown_fate(store, proxy)
        assert len(await listed(other)) == 1
        proxy.refuses = False
        async with asyncio.timeout(PATIENCE):
            while await listed(other):  # noqa: ASYNC110 -- it is seen by asking
                await asyncio.sleep(0.01)
        assert database.run("select count(*) from emailrelay.body") == [(0,)]
        assert duplicates(database) == []


@pytest.mark.usefixtures("impatient")
async def test_commit_that_its_client_was_refused_is_named_if_it_was_delivered(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        await commit_of_unknown_fate(store, proxy)
        (message,) = await listed(other)
        async with await claimed(other, message) as claim:
            await claim.settle(Done())
        proxy.refuses = False
        async with asyncio.timeout(PATIENCE):
            while not duplicates(database):  # noqa: ASYNC110 -- it is seen in the log
                await asyncio.sleep(0.01)
        assert duplicates(database) == [message]


@pytest.mark.usefixtures("impatient")
async def test_commit_of_unknown_fate_is_named_if_the_receiver_stops_before_it_is_known(
    database: PostgresOpener,
) -> None:
    async with database() as other:
        async with cut_off(database) as (store, proxy):
            await commit_of_unknown_fate(store, proxy)
        (message,) = await listed(other)
        assert duplicates(database) == [message]


async def test_commit_that_arrives_after_its_message_has_left_changes_nothing(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        message = await put(store)
        row = database.run("select id, envelope, journal from emailrelay.message")[0]
        async with await claimed(store, message) as claim:
            await claim.settle(Done())
    uuid, head, lines = row
    assert isinstance(uuid, UUID)
    assert isinstance(head, bytes)
    assert isinstance(lines, bytes)
    late = committing.NewMessage(
        id=uuid,
        stage=Stage.READY,
        ack=Ack.STORED,
        size=0,
        crc32=0,
        head=head,
        journal=lines,
        chunks=[],
    )
    conninfo = database.server.conninfo(database.name)
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await committing.insert(connection, [late], None)
    async with database() as store:
        assert await listed(store) == {}


async def test_cancelled_settlement_is_recorded_when_the_database_is_back(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        claim = await claimed(store, await put(other))
        assert await claim.before_dot("smarthost.test:25")
        proxy.refuses = True
        proxy.cut()
        settling = asyncio.create_task(claim.settle(Done()))
        await asyncio.sleep(0)
        settling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settling
        await claim.release()
        proxy.refuses = False
        async with asyncio.timeout(PATIENCE):
            while await listed(other):  # noqa: ASYNC110 -- it is seen by asking
                await asyncio.sleep(0.01)
        assert duplicates(database) == []


@pytest.mark.parametrize("cancelled", [True, False])
async def test_store_closes_without_its_database_and_names_what_it_could_not_record(
    database: PostgresOpener, *, cancelled: bool
) -> None:
    async with database() as other:
        async with cut_off(database) as (store, proxy):
            message = await put(other)
            claim = await claimed(store, message)
            assert await claim.before_dot("smarthost.test:25")
            proxy.refuses = True
            proxy.cut()
            settling = asyncio.create_task(claim.settle(Done()))
            await asyncio.sleep(0)
            if cancelled:
                settling.cancel()
        with pytest.raises(asyncio.CancelledError if cancelled else StoreError):
            await settling
        assert duplicates(database) == ([message] if cancelled else [])
        database.end_leases()
        async with await claimed(other, message) as again:
            assert again.history.doubts == ("smarthost.test:25",)


async def cut_for_good(store: Store, proxy: DatabaseProxy) -> None:
    """Wait until the store has no connection, and knows that."""
    proxy.refuses = True
    async with asyncio.timeout(PATIENCE):
        while proxy.serving or store.unavailable() is None:
            proxy.cut()
            await asyncio.sleep(0.01)


async def committed(store: Store, stage: Stage = Stage.READY, ack: Ack = Ack.DELIVERED) -> Draft:
    draft = store.draft(ENVELOPE)
    draft.write(b"x")
    await draft.commit(stage, ack)
    return draft


async def test_answer_that_was_seen_is_given_although_the_database_goes_away(
    database: PostgresOpener,
) -> None:
    async with cut_off(database) as (store, proxy), database() as other:
        draft = await committed(store)
        proxy.lose_before = b"delete from emailrelay.awaited"
        async with await claimed(other, draft.id) as claim:
            assert await claim.before_dot("smarthost.test:25")
            assert await claim.settle(Done(), answer=OK)
        assert await draft.answer(PATIENCE) == OK
        assert proxy.lost.is_set()
        assert duplicates(database) == []


@pytest.mark.parametrize(("ack", "answer"), [(Ack.DELIVERED, OK), (Ack.FILTERED, NEVER)])
async def test_client_that_gives_up_while_the_database_is_away_sends_the_message_again(
    database: PostgresOpener, ack: Ack, answer: Reply
) -> None:
    """With 250 a message would be lost that the filters refuse for a client that seems to wait."""
    async with cut_off(database) as (store, proxy), database() as other:
        draft = await committed(store, Stage.UNFILTERED, ack)
        await cut_for_good(store, proxy)
        async with await claimed(other, draft.id, Stage.UNFILTERED) as claim:
            assert await claim.settle(Done(), answer=answer)
        reply = await draft.answer(0.01)
        assert reply is not None
        assert reply.code == 451
        assert duplicates(database) == [draft.id]


async def test_message_given_back_after_its_final_dot_is_named(database: PostgresOpener) -> None:
    async with database() as store:
        message = await put(store)
        async with await claimed(store, message) as claim:
            assert await claim.before_dot("smarthost.test:25")
        async with await claimed(store, message) as again:
            assert again.history.doubts == ("smarthost.test:25",)
        assert duplicates(database) == [message]


async def test_feed_outlives_a_database_that_lacks_something(database: PostgresOpener) -> None:
    async with database() as store, store.feed(Stage.READY) as feed:
        database.run("alter table emailrelay.message rename to mislaid")
        waiting = asyncio.create_task(next_of(feed))
        with pytest.raises(StoreError, match="a table is missing"):
            await put(store)
        await told_of_feed(database, "a table is missing")
        database.run("alter table emailrelay.mislaid rename to message")
        message = await put(store)
        async with await waiting as claim:
            assert claim.id == message


async def test_feed_outlives_a_changed_table(database: PostgresOpener) -> None:
    async with database() as store, store.feed(Stage.READY) as feed:
        database.run(f"{_ALTERED} text")
        waiting = asyncio.create_task(next_of(feed))
        await told_of_feed(database, "is not as emailrelay-store made it")
        database.run(f"{_ALTERED} bigint using lease_token::bigint")
        message = await put(store)
        async with await waiting as claim:
            assert claim.id == message


async def test_feed_outlives_a_lost_right(database: PostgresOpener) -> None:
    database.run("create role poor login")
    database.run("grant usage on schema emailrelay to poor")
    database.run("grant all on all tables in schema emailrelay to poor")
    url = database.url.replace("postgres@", "poor@")
    try:
        async with (
            open_store(url, report=database.reports.append) as store,
            store.feed(Stage.READY) as feed,
        ):
            database.run("revoke update on emailrelay.message from poor")
            waiting = asyncio.create_task(next_of(feed))
            await told_of_feed(database, "lacks a right")
            database.run("grant update on emailrelay.message to poor")
            message = await put(store)
            async with await waiting as claim:
                assert claim.id == message
                database.run("revoke update, delete on emailrelay.message from poor")
                settling = asyncio.create_task(claim.settle(Done()))
                await told(database, "settle a message", "lacks a right")
                database.run("grant update, delete on emailrelay.message to poor")
                await settling
            assert await listed(store) == {}
    finally:
        database.run("drop owned by poor")
        database.run("drop role poor")


_ALTERED = "alter table emailrelay.message alter lease_token type"


async def told_of_feed(database: PostgresOpener, reason: str) -> None:
    await told(database, "look for mail", reason)


async def told(database: PostgresOpener, doing: str, reason: str) -> None:
    """Wait until the log has a line about trouble."""
    async with asyncio.timeout(PATIENCE):
        while not any(  # noqa: ASYNC110 -- it is seen in the log
            isinstance(each, StoreTrouble) and each.doing == doing and reason in each.reason
            for each in database.reports
        ):
            await asyncio.sleep(0.01)
