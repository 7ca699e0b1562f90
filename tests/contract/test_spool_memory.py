"""The memory of a feed is limited by the waiting messages, over any length of time."""

import asyncio
import gc
from collections.abc import Iterator

import pytest
from tests.contract.conftest import LoggedSpoolOpener
from tests.contract.mail import PATIENCE, next_of, put

from emailrelay.stage import Stage
from emailrelay.store.spool.disk.directory import Directory
from emailrelay.store.spool.durable.records import Noted, Taken
from emailrelay.store.spool.feed import hints, scanning
from emailrelay.store.spool.wake.index import Scheduled

WAITING = 300
ROUNDS = 10


@pytest.fixture(autouse=True)
def _count_from_here() -> Iterator[None]:
    """Leave out of the counts what earlier tests have left in this process."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _held(kind: type) -> int:
    """Count the objects of a type, those in frozen generations left out."""
    return sum(type(each) is kind for each in gc.get_objects())


async def test_feed_holds_three_hints_of_a_waiting_message_at_most(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One from the last scan, one from later hints, one from a running scan; none from batches."""
    monkeypatch.setattr(hints, "_LOOK", 0.01)
    monkeypatch.setattr(hints, "_SCAN_SHARE", 0)
    scans, scanned, read = 0, asyncio.Event(), scanning.read_stretches
    loop = asyncio.get_running_loop()

    def counted(directory: Directory, stage: Stage, now: float) -> Iterator[list[Scheduled]]:
        nonlocal scans
        yield from read(directory, stage, now)
        scans += 1
        loop.call_soon_threadsafe(scanned.set)

    monkeypatch.setattr(scanning, "read_stretches", counted)
    async with logged_spool() as store, store.feed(Stage.UNFILTERED) as feed:
        for _ in range(WAITING):
            await put(store, stage=Stage.UNFILTERED)
        for _ in range(ROUNDS):
            for _ in range(WAITING // 2):
                await (await next_of(feed)).release()
            scanned.clear()
            feed.look()
            async with asyncio.timeout(PATIENCE):
                await scanned.wait()
            assert _held(Scheduled) <= 3 * WAITING
        assert scans >= ROUNDS
        assert _held(Taken) + _held(Noted) <= 2
