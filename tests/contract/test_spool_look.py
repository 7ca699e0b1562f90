"""Messages that no process announced are found at once on request."""

import asyncio
from contextlib import closing

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, background, next_of, put

from emailrelay import envelope_format
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.spool.feed import rescans


@pytest.fixture(autouse=True)
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescans, "_LOOK", 1000.0)


def move_in(spool: SpoolOpener, number: int, suffix: str = "") -> QueueId:
    """Put a message in by renames from another directory, of which there are no events."""
    message = QueueId(f"1700000000.1.{number}")
    outside = spool.directory.with_name("outside")
    outside.mkdir(exist_ok=True)
    (outside / "content").write_bytes(b"x\r\n")
    (outside / "envelope").write_bytes(envelope_format.write(ENVELOPE))
    (outside / "content").rename(spool.directory / f"emailrelay.{message}.content")
    (outside / "envelope").rename(spool.directory / f"emailrelay.{message}.envelope{suffix}")
    return message


@pytest.mark.parametrize(("stage", "suffix"), [(Stage.READY, ""), (Stage.UNFILTERED, ".filter")])
async def test_feed_looks_when_a_feed_of_any_stage_asks(
    spool: SpoolOpener, stage: Stage, suffix: str
) -> None:
    async with (
        spool() as store,
        spool() as other,
        store.feed(stage) as feed,
        other.feed(Stage.UNFILTERED) as asking,
    ):
        for number in (1, 2):
            message = move_in(spool, number, suffix)
            asking.look()
            async with await next_of(feed) as claim:
                assert claim.id == message
                await claim.settle(Done())


async def test_dispatcher_looks_when_a_worker_of_its_pool_asks(spool: SpoolOpener) -> None:
    channel = HintChannel()
    with closing(channel):
        async with spool() as dispatcher, spool() as store:
            dispatching = dispatcher.dispatch(Stage.READY, channel, asyncio.Event())
            async with (
                background(asyncio.create_task(dispatching)),
                store.feed(Stage.READY, hints=channel) as feed,
            ):
                await put(store)
                async with await next_of(feed) as claim:  # now it listens
                    await claim.settle(Done())
                message = move_in(spool, 1)
                feed.look()
                async with await next_of(feed) as claim:
                    assert claim.id == message
                    await claim.settle(Done())
