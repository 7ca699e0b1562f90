"""The database goes away before the fate of a message is known: doubts are named."""

import asyncio
from uuid import UUID

import psycopg
import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.database_cut import cut_off
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import (
    ENVELOPE,
    NEVER,
    OK,
    PATIENCE,
    claimed,
    listed,
    put,
)

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.events.store import PossibleDuplicate
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.draft import Draft
from emailrelay.store.postgres.message import committing


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
        with pytest.raises(psycopg.errors.NotNullViolation):
            await committing.insert(connection, [late], None, first=True)
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
