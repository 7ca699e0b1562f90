"""Warns in the log while unfiltered mail waits and no filter is configured."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.filters import NoFilter
from emailrelay.events.store import StoreTrouble
from emailrelay.stage import Stage
from emailrelay.store.base import Store

_LOOK_SECONDS = 60.0


async def watch(
    store: Store, stop: asyncio.Event, report: Report, lacking: Callable[[], bool]
) -> None:
    """Check now and every minute until ``stop`` whether mail waits while filters are ``lacking``.

    See ``docs/decisions/empty-filter-chain.md``.
    """
    while not stop.is_set():
        try:
            waiting = await _count(store) if lacking() else 0
        except StoreError as error:
            report(StoreTrouble(doing="looking for unfiltered mail", reason=str(error)))
        else:
            if waiting:
                report(NoFilter(waiting=waiting))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await stop.wait()


async def _count(store: Store) -> int:
    count = 0
    async for _ in store.listing((Stage.UNFILTERED,)):
        count += 1
    return count
