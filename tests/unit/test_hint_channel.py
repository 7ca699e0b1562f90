"""The channel of a pool: a busy worker reads without listening, and calls others for help."""

import asyncio
import os
from collections.abc import Iterator
from copy import deepcopy

import pytest

from emailrelay.queue_id import QueueId
from emailrelay.store import hint_channel
from emailrelay.store.hint_channel import Hint, HintChannel

HANG = 20.0


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[HintChannel]:
    """Make a channel in which no dispatcher calls a worker."""
    monkeypatch.setattr(hint_channel, "_PATIENCE", 1000.0)
    made = HintChannel()
    yield made
    made.close()


def _second_worker(channel: HintChannel) -> HintChannel:
    """Return the channel as another process has it after a fork."""
    other = deepcopy(channel)
    other.stand_by()
    return other


async def _send(channel: HintChannel, count: int) -> None:
    await channel.send([Hint(QueueId(f"1.1.{number}")) for number in range(count)])


async def test_task_of_a_busy_worker_gets_a_hint_without_listening(
    channel: HintChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _send(channel, 3)
    listened = list[int]()

    def listen(descriptor: int, _callback: object) -> None:
        listened.append(descriptor)

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", listen)
    async with asyncio.timeout(HANG):
        got = [(await channel.receive()).message for _ in range(3)]
    assert got == ["1.1.0", "1.1.1", "1.1.2"]
    assert not listened


async def test_worker_without_a_free_task_calls_another(channel: HintChannel) -> None:
    second = _second_worker(channel)
    helping = asyncio.create_task(second.receive())
    await asyncio.sleep(0)
    await _send(channel, 2)
    assert (await channel.receive()).message == "1.1.0"
    async with asyncio.timeout(HANG):
        assert (await helping).message == "1.1.1"


@pytest.mark.parametrize(("limit", "called"), [(-1.0, True), (2.0, False)])
async def test_worker_with_free_tasks_calls_another_if_it_uses_a_processor_all_the_time(
    channel: HintChannel, monkeypatch: pytest.MonkeyPatch, limit: float, *, called: bool
) -> None:
    monkeypatch.setattr(hint_channel, "_LIMIT", limit)
    calls = list[None]()
    monkeypatch.setattr(channel, "_call", lambda: calls.append(None))
    receiving = [asyncio.create_task(channel.receive()) for _ in range(20)]
    await asyncio.sleep(0)
    await _send(channel, 10)  # more than a worker reads at once
    async with asyncio.timeout(HANG):
        await asyncio.gather(*receiving[:10])
    assert bool(calls) is called
    for task in receiving:
        task.cancel()
    await asyncio.wait(receiving)


async def test_hint_that_finds_no_room_when_it_is_given_back_is_told(
    channel: HintChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, read = list[QueueId](), os.read
    channel.no_room = lost.append
    receiving = asyncio.create_task(channel.receive())
    await asyncio.sleep(0)
    await _send(channel, 1)

    def full(_descriptor: int, _octets: bytes) -> int:
        raise BlockingIOError

    def cancelled_at_the_same_time(descriptor: int, most: int) -> bytes:
        asyncio.get_running_loop().call_soon(receiving.cancel)
        return read(descriptor, most)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "read", cancelled_at_the_same_time)
        await asyncio.wait((receiving,))
    assert lost == ["1.1.0"]
