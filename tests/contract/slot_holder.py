"""Holds one slot of a route and prints this, until it is killed.

``python -m tests.contract.slot_holder DIRECTORY ROUTE MOST``
"""

import asyncio
import sys

from emailrelay.store.chooser import open_store


async def main(directory: str, route: str, most: int) -> None:
    async with open_store(directory, report=lambda _: None) as store:
        slot = await store.limits(route).slot(most, within=0)
        print("none" if slot is None else "held", flush=True)  # noqa: T201 - the test reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
