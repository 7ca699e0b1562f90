"""The timer of a connection: one timer of the loop serves all its waits."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from emailrelay_forwarder.session.stall_timer import StallTimer


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_wait_may_follow_one_whose_limit_passes_at_once(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def waits() -> list[float]:
        given_up: asyncio.Queue[float] = asyncio.Queue()
        timer = StallTimer(asyncio.get_running_loop(), given_up.put_nowait)
        timer.begin(1e-6, None)
        timer.end()
        timer.begin(0.01, None)
        return [await given_up.get()]

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(waits()) == [0.01]
