"""The running event loop, without a system call for each question.

``asyncio.get_running_loop`` asks for the number of the process each time (CPython 3.11), since a
forked process must not use its parent's loop. Here no process forks while its loop runs.
"""

import asyncio
import weakref
from _thread import get_ident

_latest: tuple[int, weakref.ref[asyncio.AbstractEventLoop]] | None = None
"""A thread, and the loop that was running in it when it last asked asyncio."""


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop that runs in this thread.

    Raises:
        RuntimeError: there is none.

    """
    global _latest  # noqa: PLW0603 - what is remembered
    known, thread = _latest, get_ident()
    if known is not None and known[0] == thread:
        loop = known[1]()
        if loop is not None and loop.is_running():
            return loop
    loop = asyncio.get_running_loop()
    _latest = thread, weakref.ref(loop)
    return loop
