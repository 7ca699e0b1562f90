"""The queue run of ``sendmail -q``: deferred messages are tried now."""

import asyncio
import os
import time

from emailrelay import spool_dir, spool_owner
from emailrelay.errors import StoreError
from emailrelay.events.event import Event, Level
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store, spool_at
from emailrelay.store.queue_view import waits
from emailrelay.terminal.error_lines import print_errors


def flush(where: str, program: str) -> None:
    """Make all deferred messages of a store due now; their age continues.

    Raises:
        OSError: the spool directory is missing, or this user cannot read it.
        StoreUnusable: it cannot be used by this user.
        StoreError: the store cannot be used, or a message could not be changed.

    """
    fallback = spool_dir.fallback()
    spool = spool_at(fallback or where)

    def report(event: Event) -> None:
        if event.level in (Level.WARNING, Level.ERROR):
            print_errors(program, str(event))

    async def run() -> None:
        async with open_store(where, report=report, fallback=fallback) as store:
            await _flush(store)

    if spool is not None:
        os.scandir(spool).close()  # a missing directory would be made
        spool_owner.become(spool)
    asyncio.run(run())


async def _flush(store: Store) -> None:
    """Flush each deferred message; one that fails does not stop the others."""
    now, failure = time.time(), None
    listed = [entry async for entry in store.listing()]
    for entry in listed:
        if waits(entry.stage, entry.since, now):
            try:
                await store.flush(entry.id)
            except StoreError as error:
                failure = failure or error
    if failure is not None:
        raise failure
