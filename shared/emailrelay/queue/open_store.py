"""Opens the store that the command line names, for changes and long examinations."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import TypeVar

from emailrelay import spool_owner
from emailrelay.errors import StoreError
from emailrelay.queue.errors import report
from emailrelay.queue.place import fallback_of, place
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store, spool_at
from emailrelay.store.fallback import FallbackStore

_T = TypeVar("_T")


def with_store(
    asked: Namespace, act: Callable[[Store], Awaitable[_T]], *, looking: bool = False
) -> _T:
    """Open the store, call ``act`` and return its result; ``looking`` opens it for reading only.

    Raises:
        StoreUnusable: there is no such store.

    """
    where = place(asked)
    fallback = fallback_of(where)
    spool = spool_at(fallback or where)
    if spool is not None and not looking:
        spool_owner.become(spool)

    async def run() -> _T:
        async with open_store(where, report=report, looking=looking, fallback=fallback) as store:
            done = await act(store)
            if isinstance(store, FallbackStore) and store.missing is not None:
                raise StoreError("list the database, only the fallback is shown", store.missing)
            return done

    return asyncio.run(run())
