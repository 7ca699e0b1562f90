"""Recovery by one opener never touches what another is working on."""

import asyncio
import threading

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import put, stages

from emailrelay.stage import Stage


async def test_endless_sweeps_by_others_cost_no_draft(spool: SpoolOpener) -> None:
    stop = threading.Event()

    def sweep() -> None:
        async def open_and_close() -> None:
            while not stop.is_set():
                async with spool():
                    pass

        asyncio.run(open_and_close())

    async with spool() as store:
        sweeper = threading.Thread(target=sweep)
        sweeper.start()
        try:
            messages = [await put(store) for _ in range(400)]
        finally:
            stop.set()
            await asyncio.to_thread(sweeper.join)
        assert await stages(store) == dict.fromkeys(messages, Stage.READY)
    assert spool.reports == []
