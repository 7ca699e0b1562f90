"""What one worker of a pool asks all of them to do."""

import asyncio
import os
import signal
from collections.abc import Callable

_PAUSE = 0.02
"""Seconds between two questions whether all was heard."""
_QUESTIONS = 50
"""After this many questions the worker waits no longer: a listener may be stopped for ever."""


def flush_all(supervisor: int, all_heard: Callable[[], bool]) -> Callable[[], None]:
    """Return a function that makes all deferred mail due, where a dispatcher knows what there is.

    The supervisor passes a flush signal on to the dispatcher and to every worker. Workers that hear of
    a server's return in this way look for themselves, and have nothing more to ask for then.

    The signal waits until ``all_heard``. The dispatcher makes only those messages due that it knows of,
    and its socket may still be too full for the latest deferrals.
    """

    def flush(questions: int = _QUESTIONS) -> None:
        if questions and not all_heard():
            asyncio.get_running_loop().call_later(_PAUSE, flush, questions - 1)
        # Another process may have the supervisor's number when it has gone; then this worker ends too.
        elif os.getppid() == supervisor:
            os.kill(supervisor, signal.SIGUSR1)

    return flush
