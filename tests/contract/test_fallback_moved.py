"""A fallback hands over all mail that is there; trouble with one message stops no other."""

import asyncio
import time
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, PATIENCE, claimed_soon, content_of, put, stages

from emailrelay import envelope_format, journal_format
from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble
from emailrelay.journal import AdministratorWish, Attempt
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store import fallback as fallback_module
from emailrelay.store import move as move_module
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.move import Mover
from emailrelay.store.postgres.store import PostgresStore

OURS, ODD = b"Subject: ours\r\n\r\n", b"Subject: odd\r\n\r\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon for mail that could not be handed over."""
    monkeypatch.setattr(fallback_module, "_PAUSE", 0.05)
    monkeypatch.setattr(fallback_module, "_AFTER_TROUBLE", 0.1)


def with_fallback(database: PostgresOpener, spool: Path) -> Store:
    return open_store(
        database.url, report=database.reports.append, fallback=f"spool://{spool}", hands_over=True
    )


async def put_into(spool: Path, content: bytes = OURS) -> QueueId:
    """Put a message into the fallback, as a receiver does while the database is away."""
    async with open_store(spool, report=print) as store:
        return await put(store, content)


def plant(spool: Path, message: str, *entries: Attempt) -> None:
    """Put a message into the fallback, as another program does."""
    (spool / f"emailrelay.{message}.content").write_bytes(ODD)
    lines = b"".join(map(journal_format.write, entries))
    (spool / f"emailrelay.{message}.envelope").write_bytes(envelope_format.write(ENVELOPE) + lines)


async def told(database: PostgresOpener, what: str) -> None:
    """Wait until trouble with these words is reported."""
    async with asyncio.timeout(PATIENCE):
        while not any(  # noqa: ASYNC110 -- seen by asking
            isinstance(event, StoreTrouble) and what in f"{event.doing}: {event.reason}"
            for event in database.reports
        ):
            await asyncio.sleep(0.01)


async def test_mail_exported_from_the_database_goes_back_into_it(
    database: PostgresOpener, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    async with database() as store, open_store(spool, report=print) as target:
        messages = [await put(store, OURS) for _ in range(3)]
        await Mover(source=store, target=target, origin="database", clock=time.time).run()
        assert set(await stages(target)) == set(messages)
    async with with_fallback(database, spool), database() as other:
        for message in messages:
            async with await claimed_soon(other, message) as claim:
                assert await content_of(claim) == OURS


async def test_message_under_a_strange_id_stops_no_other(
    database: PostgresOpener, tmp_path: Path
) -> None:
    spool = tmp_path / "spool"
    message = await put_into(spool)
    for odd in ("hello", f"0{message}"):
        plant(spool, odd)
    async with with_fallback(database, spool), database() as other:
        async with await claimed_soon(other, message) as claim:
            assert await content_of(claim) == OURS
        await told(database, "take hello into the database: its id is another program's")
        await told(database, f"take 0{message} into the database: its id is another program's")
    assert len(list(spool.glob("emailrelay.hello.*"))) == 2, "a message is lost"


async def test_internal_error_with_one_message_stops_no_other(
    database: PostgresOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    bad, good = await put_into(spool), await put_into(spool)
    adopt = PostgresStore.adopt

    async def adopts(
        store: PostgresStore, message: QueueId, *given: object, **rest: object
    ) -> None:
        if message == bad:
            raise ZeroDivisionError
        await adopt(store, message, *given, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PostgresStore, "adopt", adopts)
    async with with_fallback(database, spool), database() as other:
        async with await claimed_soon(other, good) as claim:
            assert await content_of(claim) == OURS
        await told(database, f"hand over {bad}: internal error")


async def test_hand_over_survives_an_internal_error(
    database: PostgresOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = tmp_path / "spool"
    message = await put_into(spool)

    async def broken(_mover: Mover) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr(Mover, "move", broken)
        async with with_fallback(database, spool), database() as other:
            await told(database, "hand mail over: ZeroDivisionError")
            patched.undo()
            async with await claimed_soon(other, message) as claim:
                assert await content_of(claim) == OURS


@pytest.mark.parametrize("when", [9e10, 1e300])
async def test_impossible_retry_time_is_now(
    database: PostgresOpener, tmp_path: Path, when: float
) -> None:
    spool, message = tmp_path / "spool", QueueId("1700000000000.1.1")
    await put_into(spool)
    plant(spool, message, Attempt(at=1.7e9, peer="there:25", next_attempt=when))
    async with (
        with_fallback(database, spool),
        database() as other,
        await claimed_soon(other, message) as claim,
    ):
        assert await content_of(claim) == ODD


async def test_message_that_cannot_be_finished_stops_no_other(
    database: PostgresOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wish = PostgresStore.wish
    refused: set[QueueId] = set()

    async def wishes(store: PostgresStore, message: QueueId, what: AdministratorWish) -> bool:
        if what is AdministratorWish.ARRIVE and message in refused:
            raise StoreError("arrive", "the database refused")
        return await wish(store, message, what)

    monkeypatch.setattr(PostgresStore, "wish", wishes)
    async with open_store(tmp_path / "spool", report=print) as source, database() as target:
        messages = [await put(source) for _ in range(3)]
        refused.update(messages)
        mover = Mover(source=source, target=target, origin="here", clock=time.time)
        await mover.run()
        assert set((await stages(target)).values()) == {Stage.HELD}
        refused.difference_update(messages[1:])
        with pytest.raises(StoreError, match="the database refused"):
            await mover.finish_earlier()
        assert await stages(target) == dict(
            zip(messages, [Stage.HELD, Stage.READY, Stage.READY], strict=True)
        )


@pytest.mark.parametrize("ends", [True, False])
async def test_stop_lets_a_message_arrive_that_the_source_has_let_go(
    database: PostgresOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, ends: bool
) -> None:
    wish = PostgresStore.wish
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def wishes(store: PostgresStore, message: QueueId, what: AdministratorWish) -> bool:
        if what is AdministratorWish.ARRIVE:
            asked.set()
            await goes_on.wait()
        return await wish(store, message, what)

    monkeypatch.setattr(PostgresStore, "wish", wishes)
    if not ends:
        monkeypatch.setattr(move_module, "_STOPPING", 0.0)
    async with open_store(tmp_path / "spool", report=print) as source, database() as target:
        message = await put(source)
        mover = Mover(source=source, target=target, origin="here", clock=time.time)
        moving = asyncio.create_task(mover.run())
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            moving.cancel()
            await asyncio.sleep(0)
            if ends:
                goes_on.set()
            with pytest.raises(asyncio.CancelledError):
                await moving
        expected = Stage.READY if ends else Stage.HELD  # the next run finishes it
        assert await stages(target) == {message: expected}
