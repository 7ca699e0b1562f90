"""Recovery by one opener never touches what another is working on."""

import asyncio
import threading
from collections.abc import Generator
from contextlib import contextmanager

from tests.contract.conftest import SpoolOpener
from tests.contract.mail import ENVELOPE, put, stages

from emailrelay.ack import Ack
from emailrelay.stage import Stage


@contextmanager
def endless_sweeps(spool: SpoolOpener) -> Generator[None]:
    """Open and close the store in another thread, again and again."""
    stop = threading.Event()

    async def open_and_close() -> None:
        while not stop.is_set():
            async with spool():
                pass

    sweeper = threading.Thread(target=lambda: asyncio.run(open_and_close()))
    sweeper.start()
    try:
        yield
    finally:
        stop.set()
        sweeper.join()


async def test_endless_sweeps_by_others_cost_no_draft(spool: SpoolOpener) -> None:
    async with spool() as store:
        with endless_sweeps(spool):
            messages = [await put(store) for _ in range(400)]
        assert await stages(store) == dict.fromkeys(messages, Stage.READY)
    assert spool.reports == []


async def test_endless_sweeps_by_others_refuse_no_client_who_waits(spool: SpoolOpener) -> None:
    async with spool() as store:
        with endless_sweeps(spool):
            for _ in range(400):
                async with store.draft(ENVELOPE) as draft:
                    await draft.write(b"Subject: x\r\n\r\nx\r\n")
                    await draft.commit(Stage.READY, Ack.DELIVERED)
    assert spool.reports == []
