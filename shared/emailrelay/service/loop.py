"""The event loop of one process, with its signals."""

import asyncio
import gc
import importlib.util
import sys
from collections.abc import Awaitable, Callable
from functools import cache

from emailrelay.service.signals import Signals

_SWITCH = 0.0005
"""Seconds after which a busy thread lets the loop go on. With Python's 5 ms, a scan of a large
spool delays the loop by as much at each system call."""


def run_in_loop(
    work: Callable[[Signals], Awaitable[int]],
    on_stop: Callable[[], None],
    on_ready: Callable[[], None],
) -> int:
    """Run ``work`` in a new event loop, uvloop's if it is installed; return its exit status."""
    sys.setswitchinterval(_SWITCH)
    # Everything loaded by now lives until exit; a full garbage collection would scan it for
    # nothing.
    gc.freeze()

    async def main() -> int:
        signals = Signals()
        signals.on_stop(on_stop)
        signals.on_ready(on_ready)
        try:
            return await work(signals)
        finally:
            signals.close()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main())


@cache
def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the maker of event loops: uvloop's (the extra "fast") if installed, else asyncio's."""
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415 -- it may not be installed

    return uvloop.new_event_loop
