"""A database with a fallback goes away in a commit: no message is delivered without its client."""

import asyncio
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, OK, PATIENCE, claimed, listed
from tests.contract.test_fallback import with_fallback
from tests.contract.test_postgres_doubt import duplicates

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.postgres.message import committing
from emailrelay.store.spool.message.draft import SpoolDraft

_WAITING = [(Ack.FILTERED, Stage.UNFILTERED), (Ack.DELIVERED, Stage.READY)]


@pytest.mark.parametrize(("ack", "stage"), _WAITING)
async def test_lost_commit_of_a_client_that_waits_is_made_again(
    database: PostgresOpener, tmp_path: Path, ack: Ack, stage: Stage
) -> None:
    async with (
        with_fallback(database, tmp_path / "spool") as (store, proxy),
        database() as other,
        store.draft(ENVELOPE) as draft,
    ):
        proxy.lose_answer_to = b"commit"
        await draft.commit(stage, ack)
        assert proxy.lost.is_set()
        async with await claimed(other, draft.id, stage) as claim:
            assert await claim.before_dot("smarthost.test:25")
            assert await claim.settle(Done(), answer=OK)
        assert await draft.answer(PATIENCE) == OK
        assert duplicates(database) == []


@pytest.mark.parametrize(("ack", "stage"), _WAITING)
async def test_commit_of_a_client_that_was_refused_is_taken_back(
    database: PostgresOpener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ack: Ack,
    stage: Stage,
) -> None:
    monkeypatch.setattr(committing, "PATIENCE", 0.2)
    async with with_fallback(database, tmp_path / "spool") as (store, proxy), database() as other:
        draft = store.draft(ENVELOPE)
        proxy.lose_answer_to = b"commit"
        refused = asyncio.create_task(draft.commit(stage, ack))
        async with asyncio.timeout(PATIENCE):
            await proxy.lost.wait()
            proxy.refuses = True
            with pytest.raises(StoreError):
                await refused
            await draft.discard()
            assert list(await listed(other)) == [draft.id]
            proxy.refuses = False
            while await listed(other):  # noqa: ASYNC110 -- it is seen by asking
                await asyncio.sleep(0.01)
        assert duplicates(database) == []


@pytest.mark.parametrize("delivered", [False, True])
async def test_commit_that_the_fallback_could_not_replace_is_taken_back_or_named(
    database: PostgresOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, delivered: bool
) -> None:
    async def full(*_: object) -> None:
        raise StoreError("commit a message", "the disk is full")

    monkeypatch.setattr(SpoolDraft, "commit", full)
    async with with_fallback(database, tmp_path / "spool") as (store, proxy), database() as other:
        draft = store.draft(ENVELOPE)
        proxy.lose_answer_to = b"commit"
        refused = asyncio.create_task(draft.commit(Stage.READY))
        async with asyncio.timeout(PATIENCE):
            await proxy.lost.wait()
            proxy.refuses = True
            with pytest.raises(StoreError, match="full"):
                await refused
            await draft.discard()
            if delivered:
                await (await claimed(other, draft.id)).settle(Done())
            proxy.refuses = False
            while await listed(other) or len(duplicates(database)) < delivered:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert duplicates(database) == ([draft.id] if delivered else [])
