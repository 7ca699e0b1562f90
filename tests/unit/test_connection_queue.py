"""The queue for the connections to one server: places, their order, and those given back."""

import asyncio
from collections.abc import Callable

import pytest

from emailrelay.reply import Reply
from emailrelay_forwarder.server import connection_queue
from emailrelay_forwarder.server.connection_limit import ConnectionLimit
from emailrelay_forwarder.server.connection_queue import ConnectionQueue
from emailrelay_forwarder.session.session_error import SessionError, SessionStep


def _passes() -> None:
    """Find a point in waiting."""


def _stalled() -> SessionError:
    return SessionError(SessionStep.CONNECT, Reply(451, "4.4.5 all connections are busy"))


def _queue(most: int, check: Callable[[], None] = _passes) -> ConnectionQueue:
    return ConnectionQueue(ConnectionLimit(most), check=check, stalled=_stalled)


async def _waiting(queue: ConnectionQueue, waiters: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(queue.enter()) for _ in range(waiters)]
    await asyncio.sleep(0)
    assert len(queue) == waiters
    return tasks


async def test_a_place_goes_to_the_first_that_waits_and_not_to_a_newcomer() -> None:
    queue = _queue(1)
    await queue.enter()
    first, second = await _waiting(queue, 2)
    queue.finished()
    newcomer = asyncio.create_task(queue.enter())
    await first
    await asyncio.sleep(0)
    assert (queue.in_use, second.done(), newcomer.done()) == (1, False, False)
    queue.finished()
    await second
    queue.finished()
    await newcomer


async def test_a_cancelled_message_gives_its_new_place_to_the_next() -> None:
    queue = _queue(1)
    await queue.enter()
    first, second = await _waiting(queue, 2)
    queue.finished()
    first.cancel()
    await second
    assert queue.in_use == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_cancelled_message_waits_no_more() -> None:
    queue = _queue(1)
    await queue.enter()
    (first,) = await _waiting(queue, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len(queue) == 0
    queue.leave()
    assert queue.in_use == 0


async def test_all_that_wait_hear_of_a_pause() -> None:
    paused = list[SessionError]()

    def check() -> None:
        for error in paused:
            raise error

    queue = _queue(1, check)
    await queue.enter()
    tasks = await _waiting(queue, 3)
    paused.append(_stalled())
    queue.leave()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [SessionError] * 3
    assert queue.in_use == 0


async def test_a_larger_limit_lets_several_through() -> None:
    limit = ConnectionLimit(3)
    limit.now = 1
    queue = ConnectionQueue(limit, check=_passes, stalled=_stalled)
    await queue.enter()
    tasks = await _waiting(queue, 3)
    limit.now = 2
    queue.finished()
    await asyncio.gather(*tasks[:2])
    assert (queue.in_use, tasks[2].done()) == (2, False)
    queue.finished()
    await tasks[2]


async def test_a_stalled_server_turns_all_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_queue, "STALLED", 0.05)
    queue = _queue(1)
    await queue.enter()
    tasks = await _waiting(queue, 2)
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [SessionError] * 2
    with pytest.raises(SessionError):
        await queue.enter()


async def test_a_place_that_is_given_back_starts_the_time_of_the_next_message_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, skipped = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + skipped)
    queue = _queue(1)
    await queue.enter()
    first, second = await _waiting(queue, 2)
    skipped += 0.6 * connection_queue.STALLED
    queue.leave()
    await first
    skipped += 0.6 * connection_queue.STALLED
    for _ in range(5):  # the timer of the first wait is due, and looks again later
        await asyncio.sleep(0)
    assert not second.done()
    newcomer = asyncio.create_task(queue.enter())
    queue.finished()
    await second
    queue.finished()
    await newcomer
