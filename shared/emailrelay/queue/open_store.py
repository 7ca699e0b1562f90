"""Opens the store that the command line names; it never creates one."""

import asyncio
from argparse import Namespace
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from emailrelay import spool_dir, spool_owner
from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.queue.errors import report
from emailrelay.store.base import Store
from emailrelay.store.chooser import is_postgres, open_store, spool_at
from emailrelay.store.fallback import FallbackStore

_T = TypeVar("_T")


def place(directory: Path | None, url: str | None) -> str | Path:
    """Return the store's directory or URL; a directory on the command line comes first.

    Raises:
        StoreUnusable: there is no such directory.

    """
    where = directory or url or spool_dir.chosen()
    spool = spool_at(where)
    if spool is None:
        return str(where)
    if not spool.is_dir():
        raise StoreUnusable(f"{spool}: there is no such spool directory; use --spool-dir DIR")
    return spool


def _fallback(where: str | Path) -> str | None:
    """Return the spool that takes mail while the database is away, if this host has one."""
    named = spool_dir.fallback() if is_postgres(where) else None
    spool = None if named is None else spool_at(named)
    return named if spool is not None and spool.is_dir() else None


def with_store(
    asked: Namespace,
    act: Callable[[Store], Awaitable[_T]],
    *,
    looking: bool = False,
) -> _T:
    """Open the store that the command line names, call ``act`` and return its result.

    ``looking``: it is opened for reading only.

    Raises:
        StoreUnusable: there is no such store.

    """
    where = place(asked.spool_dir, asked.store)
    fallback = _fallback(where)
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
