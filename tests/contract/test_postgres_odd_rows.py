"""A row that this release cannot read stops no other message, and no feed ends silently."""

import asyncio

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.mail import ENVELOPE, next_of, put, stages

from emailrelay.ack import Ack
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.postgres.message.claiming import Claimer


async def finished(store: Store) -> str:
    """Deliver the next message that a feed gives; return its id."""
    async with store.feed(Stage.READY) as feed, await next_of(feed) as claim:
        await claim.settle(Done())
        return claim.id


async def test_wish_of_a_later_release_counts_as_none(database: PostgresOpener) -> None:
    async with database() as store:
        message = await put(store)
        database.run("update emailrelay.message set wish = 'later'")
        assert await finished(store) == message
        assert await stages(store) == {}


async def test_message_that_cannot_be_read_does_not_stop_the_next(
    database: PostgresOpener,
) -> None:
    async with database() as store:
        odd = store.draft(ENVELOPE)
        odd.write(b"x")
        await odd.commit(Stage.READY, Ack.DELIVERED)
        database.run("update emailrelay.awaited set ack = 'later'")
        message = await put(store)
        assert await finished(store) == message
        assert await stages(store) == {odd.id: Stage.READY}
        assert "StoreTrouble" in database.kinds()


async def test_feed_that_ends_by_an_error_gives_it_to_those_that_wait(
    database: PostgresOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("a fault of this program")

    async with database() as store, store.feed(Stage.READY) as feed:
        monkeypatch.setattr(Claimer, "due", fail)
        waiting = [asyncio.create_task(next_of(feed)) for _ in range(2)]
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [RuntimeError, RuntimeError]
        with pytest.raises(RuntimeError, match="fault of this program"):
            await next_of(feed)
