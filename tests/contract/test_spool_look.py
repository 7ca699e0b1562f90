"""Messages that no process announced are found at once on request."""

import asyncio
import errno
import os
import time
from collections.abc import Sequence
from contextlib import closing

import pytest
from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, background, next_of, put

from emailrelay import envelope_format
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.spool.disk import locks, names
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.feed import hints
from emailrelay.store.spool.message.spool import open_spool
from emailrelay.store.spool.wake.hint_sender import Due, HintSender


@pytest.fixture(autouse=True)
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_LOOK", 1000.0)


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


async def test_dispatcher_hears_at_once_of_a_message_for_which_its_pool_has_no_room(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[object]()

    def announce(_sender: HintSender, stage: Stage, messages: Sequence[Due]) -> None:
        told.append((stage, *messages))

    channel = HintChannel()
    with closing(channel):
        async with spool() as store, store.feed(Stage.READY, hints=channel):
            monkeypatch.setattr(HintSender, "announce", announce)
            channel.no_room(QueueId("1.1.1"))
            assert told == [(Stage.READY, Due(QueueId("1.1.1"), 0.0))]


async def test_message_whose_claim_fails_rests_until_it_is_due(
    spool: SpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = locks.lock_with_status
    refused = list[str]()

    def failing(at: Location) -> tuple[int, os.stat_result] | None:
        if at.name in refused:
            raise OSError(errno.EIO, "bad block")
        return lock(at)

    monkeypatch.setattr(locks, "lock_with_status", failing)
    async with spool() as store, store.feed(Stage.READY) as feed, spool() as other:
        message = QueueId("1.1.1")
        refused.append(names.envelope(message, Stage.READY))
        announcing = open_spool(spool.directory, spool.reports.append, time.time)
        for _ in range(3):
            announcing.announcer.announce(Stage.READY, message)
            good = await put(other)
            async with await next_of(feed) as claim:
                assert claim.id == good
                await claim.settle(Done())
        announcing.announcer.close()
        announcing.close()
    assert len([each for each in spool.reports if isinstance(each, StoreTrouble)]) == 1
