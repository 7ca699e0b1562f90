"""Waits for filters: each ends at its time, and one timer serves them all."""

import asyncio

import pytest

from emailrelay.filters.waits import FilterTooLate, Waits

SOON, LONG = 0.01, 60.0


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note the times for which timers are set."""
    times = list[float]()
    original = asyncio.BaseEventLoop.call_at

    def noted(
        loop: asyncio.BaseEventLoop, when: float, *rest: object, **more: object
    ) -> asyncio.TimerHandle:
        times.append(when)
        return original(loop, when, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_at", noted)
    return times


async def test_wait_ends_with_its_answer_and_is_forgotten() -> None:
    waits, loop = Waits(), asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    loop.call_soon(answer.set_result, b"ok")
    assert await waits.wait(answer, loop.time() + LONG) == b"ok"
    again: asyncio.Future[bytes] = loop.create_future()
    with pytest.raises(FilterTooLate):
        await waits.wait(again, loop.time() + SOON)
    waits.close()


async def test_each_wait_ends_at_its_own_time() -> None:
    waits, loop = Waits(), asyncio.get_running_loop()
    ended = list[str]()

    async def wait(name: str, seconds: float) -> None:
        with pytest.raises(FilterTooLate):
            await waits.wait(loop.create_future(), loop.time() + seconds)
        ended.append(name)

    late = asyncio.create_task(wait("late", 8 * SOON))
    await asyncio.sleep(0)
    await asyncio.gather(late, wait("early", SOON), wait("middle", 4 * SOON))
    assert ended == ["early", "middle", "late"]


async def test_waits_that_are_over_at_once_end_in_the_order_of_their_times() -> None:
    waits, past = Waits(), asyncio.get_running_loop().time() - LONG
    ended = list[str]()

    async def wait(name: str, until: float) -> None:
        with pytest.raises(FilterTooLate):
            await waits.wait(asyncio.get_running_loop().create_future(), until)
        ended.append(name)

    await asyncio.gather(wait("late", past + 3), wait("early", past), wait("middle", past + 1))
    assert ended == ["early", "middle", "late"]


async def test_cancelled_wait_gets_no_error_later() -> None:
    waits, loop = Waits(), asyncio.get_running_loop()
    answer: asyncio.Future[None] = loop.create_future()
    waiting = asyncio.create_task(waits.wait(answer, loop.time() + SOON))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(FilterTooLate):
        await waits.wait(loop.create_future(), loop.time() + 2 * SOON)
    assert answer.cancelled()


async def test_many_waits_have_one_timer(timers: list[float]) -> None:
    waits, loop = Waits(), asyncio.get_running_loop()
    for _ in range(100):
        answer: asyncio.Future[None] = loop.create_future()
        loop.call_soon(answer.set_result, None)
        await waits.wait(answer, loop.time() + LONG)
    assert len(timers) == 1
    waits.close()
