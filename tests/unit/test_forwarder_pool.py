"""A worker asks its pool for a flush."""

import asyncio
import os

import pytest

from emailrelay_forwarder import pool
from emailrelay_forwarder.pool import flush_all


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    event = asyncio.Event()

    def kill(_pid: int, _number: int) -> None:
        event.set()

    monkeypatch.setattr(os, "kill", kill)
    return event


@pytest.mark.parametrize("misses", [0, 1, 3])
async def test_flush_waits_until_the_dispatcher_has_heard_of_all_deferrals(
    flushed: asyncio.Event, misses: int
) -> None:
    answers = [False] * misses + [True]
    flush_all(os.getppid(), lambda: answers.pop(0))()
    async with asyncio.timeout(10):
        await flushed.wait()
    assert answers == []


async def test_flush_does_not_wait_for_ever(
    flushed: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_PAUSE", 0.0)
    flush_all(os.getppid(), lambda: False)()
    async with asyncio.timeout(10):
        await flushed.wait()


async def test_no_other_process_gets_the_signal_after_the_supervisors_end(
    flushed: asyncio.Event,
) -> None:
    flush_all(os.getppid() + 1, lambda: True)()
    assert not flushed.is_set()
