"""Blocking work in a thread, on files that the caller closes when it is cancelled."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(act: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run ``act`` in a thread. If cancelled, wait for its end.

    Otherwise the thread would go on with descriptors that are closed and used anew, and in a
    directory that belongs to the message's next holder.
    """
    work = asyncio.ensure_future(asyncio.to_thread(act, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait((work,))
        if not work.cancelled():
            work.exception()  # no caller is left to raise it in
        raise
