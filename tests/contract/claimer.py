"""Claims the ready messages of a spool and prints each id on a line, until it is killed.

``python -m tests.contract.claimer DIRECTORY [hold]``; with ``hold`` it keeps what it has claimed.
"""

import asyncio
import sys

from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store
from emailrelay.store.claim import Claim
from emailrelay.store.feed import Feed

_TASKS = 64


async def finish(feed: Feed) -> None:
    while True:
        async with await feed.claim() as claim:
            await claim.settle(Done())
        print(claim.id, flush=True)  # noqa: T201 - the test reads it


async def hold(feed: Feed, held: list[Claim]) -> None:
    while True:
        claim = await feed.claim()
        held.append(claim)
        print(claim.id, flush=True)  # noqa: T201 - the test reads it


async def main(directory: str, *, keep: bool) -> None:
    held: list[Claim] = []
    async with (
        open_store(directory, report=lambda _: None) as store,
        store.feed(Stage.READY) as feed,
    ):
        print("ready", flush=True)  # noqa: T201 - the test reads it
        if keep:
            await hold(feed, held)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_TASKS):
                tasks.create_task(finish(feed))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], keep="hold" in sys.argv[2:]))
