"""A request of one worker to its whole pool: make all deferred mail due."""

import asyncio
import os
import signal
from collections.abc import Callable

_PAUSE = 0.02
"""Seconds between two checks."""
_CHECKS = 50
"""Checks before the worker stops waiting: a listener may be stopped for ever."""


def flush_all(supervisor: int, all_heard: Callable[[], bool]) -> Callable[[], None]:
    """Return a function that makes all deferred mail due, for a pool with a dispatcher.

    It sends the supervisor a flush signal. The supervisor passes it on to the dispatcher and to
    every worker, and the workers then look for mail themselves.

    The signal waits until ``all_heard``: the dispatcher makes only the messages due that it knows
    of, and its socket may still be too full for the latest deferrals.
    """

    def flush(checks: int = _CHECKS) -> None:
        if checks and not all_heard():
            asyncio.get_running_loop().call_later(_PAUSE, flush, checks - 1)
        # When the supervisor has gone, another process may have its number; this worker then ends
        # too.
        elif os.getppid() == supervisor:
            os.kill(supervisor, signal.SIGUSR1)

    return flush
