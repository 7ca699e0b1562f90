"""Several services start after a power cut: one replays the log, and none goes on without that."""

import asyncio
import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest
from tests.acceptance.relay import until
from tests.contract.conftest import LoggedSpoolOpener, SpoolOpener
from tests.contract.mail import PATIENCE, put, stages
from tests.contract.played_cut import BODY, cut

from emailrelay.errors import StoreError
from emailrelay.events.store import StoreTrouble
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.opening import presence, replay


async def cut_with_mail(spool: LoggedSpoolOpener) -> tuple[SpoolOpener, QueueId]:
    """Return a spool after a power cut, and a message of which only its log tells."""
    async with spool() as store:
        message = await put(store, BODY)
        return cut(spool), message


async def found(spool: SpoolOpener) -> dict[QueueId, Stage]:
    async with spool() as store:
        return await stages(store)


async def report_of_waiting(spool: SpoolOpener, times: int = 1) -> None:
    """Wait until a process has told that it waits."""

    def told() -> bool:
        return sum(isinstance(event, StoreTrouble) for event in spool.reports) >= times

    await asyncio.to_thread(until, told, "a process tells that it waits")


def locked(directory: Path) -> int:
    """Lock a directory as another process does that replays the log."""
    kept = os.open(directory, os.O_RDONLY)
    fcntl.flock(kept, fcntl.LOCK_EX)
    return kept


async def test_who_waits_for_a_replay_that_fails_replays_the_log(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, message = await cut_with_mail(logged_spool)
    begun, goes_on, apply = threading.Event(), threading.Event(), replay.apply

    def fails_once(spool: Spool, message: QueueId, state: replay.LastState) -> None:
        if not begun.is_set():
            begun.set()
            goes_on.wait(PATIENCE)
            raise OSError(errno.ENOSPC, "no room")
        apply(spool, message, state)

    monkeypatch.setattr(presence, "_TELL", 0.0)
    monkeypatch.setattr(replay, "apply", fails_once)
    first = asyncio.create_task(found(after))
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    second = asyncio.create_task(found(after))
    await report_of_waiting(after)
    goes_on.set()
    with pytest.raises(StoreError, match="no room"):
        await first
    assert await second == {message: Stage.READY}


@pytest.mark.parametrize("place", [".wal", ".doubt"])
async def test_who_waits_for_a_process_that_dies_replays_the_log(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    after, message = await cut_with_mail(logged_spool)
    (after.directory / place).mkdir(exist_ok=True)
    monkeypatch.setattr(presence, "_TELL", 0.0)
    kept = locked(after.directory / place)
    waiting = asyncio.create_task(found(after))
    await report_of_waiting(after)
    os.close(kept)
    assert await waiting == {message: Stage.READY}


async def test_long_replay_is_waited_for_and_told_again(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, message = await cut_with_mail(logged_spool)
    for name in ("_TELL", "_TELL_AGAIN", "_LONGEST"):
        monkeypatch.setattr(presence, name, 0.0)
    kept = locked(after.directory / ".wal")
    waiting = asyncio.create_task(found(after))
    await report_of_waiting(after, times=3)
    os.close(kept)
    assert await waiting == {message: Stage.READY}


async def test_log_that_cannot_be_replayed_keeps_a_service_from_starting(
    logged_spool: LoggedSpoolOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    after, message = await cut_with_mail(logged_spool)
    for name in ("_LONGEST", "_LONGEST_OF_REPLAY"):
        monkeypatch.setattr(presence, name, 0.0)
    kept = locked(after.directory / ".wal")
    with pytest.raises(StoreError, match="another process replays the log"):
        await found(after)
    os.close(kept)
    assert await found(after) == {message: Stage.READY}
