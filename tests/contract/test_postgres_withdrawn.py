"""A message that is withdrawn while its final dot may have arrived is named, and stays away."""

import psycopg
import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, claimed, listed
from tests.contract.test_postgres_doubt import duplicates

from emailrelay.ack import Ack
from emailrelay.events.delivery import Withdrawn
from emailrelay.history_query import HistoryQuery
from emailrelay.journal import Doubted
from emailrelay.message_end import MessageEnd
from emailrelay.queue_uuid import to_uuid
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.draft import Draft
from emailrelay.store.mail_history import HistoryBounds
from emailrelay.store.postgres.message import committing

_PEER = "smarthost.test:25"


async def withdrawn(database: PostgresOpener, store: Store, *, dot: bool = True) -> Draft:
    """Have the client of a message give up after its forwarder has died."""
    draft = store.draft(ENVELOPE)
    draft.write(b"x")
    await draft.commit(Stage.READY, Ack.DELIVERED)
    claim = await claimed(store, draft.id)
    if dot:
        assert await claim.before_dot(_PEER)
    database.end_leases()
    assert await draft.answer(0.0) is None
    assert await listed(store) == {}
    assert [event.id for event in database.reports if isinstance(event, Withdrawn)] == [draft.id]
    return draft


async def test_message_withdrawn_after_the_final_dot_is_named(database: PostgresOpener) -> None:
    async with database() as store:
        await store.history().keep(HistoryBounds(days=1, octets=1 << 20))
        draft = await withdrawn(database, store)
        assert duplicates(database) == [draft.id]
        (past,) = [found async for found in store.history().find(HistoryQuery(id=draft.id))]
        assert past.end is MessageEnd.WITHDRAWN
        assert [entry.peer for entry in past.entries if isinstance(entry, Doubted)] == [_PEER]


async def test_message_withdrawn_before_the_final_dot_is_not_named(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        await withdrawn(database, store, dot=False)
        assert duplicates(database) == []


@pytest.mark.parametrize("dot", [True, False])
async def test_commit_that_arrives_after_the_message_was_withdrawn_changes_nothing(
    database: PostgresOpener, *, dot: bool
) -> None:
    async with database() as store:
        draft = await withdrawn(database, store, dot=dot)
    late = committing.NewMessage(
        id=to_uuid(draft.id),
        stage=Stage.READY,
        ack=Ack.DELIVERED,
        size=0,
        crc32=0,
        head=b"",
        journal=b"",
        chunks=[],
    )
    conninfo = database.server.conninfo(database.name)
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await committing.insert(connection, [late], None)
    assert database.run("select count(*) from emailrelay.message") == [(0,)]
