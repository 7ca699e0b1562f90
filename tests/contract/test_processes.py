"""Several processes on one store: each message is claimed once, and the mail of a killed one goes on."""

import asyncio
from contextlib import AsyncExitStack

from tests.contract.claimers import LONG, Claimer, claimer
from tests.contract.mail import Opener, listed, next_of, put

from emailrelay.stage import Stage


async def test_waiting_feed_gets_the_message_of_a_killed_claimer(shared: Opener) -> None:
    async with shared() as store:
        message = await put(store)
        async with claimer(shared, "hold") as victim:
            assert await victim.line() == message
            async with store.feed(Stage.READY) as feed:
                waiting = asyncio.create_task(next_of(feed))
                victim.process.kill()
                async with await waiting as claim:
                    assert claim.id == message


async def test_processes_claim_each_message_once(shared: Opener) -> None:
    told = asyncio.Queue[str]()

    async def listen(one: Claimer) -> None:
        while line := await one.line():
            told.put_nowait(line)

    async with shared() as store, AsyncExitStack() as stack:
        claimers = [await stack.enter_async_context(claimer(shared)) for _ in range(3)]
        listening = [asyncio.create_task(listen(one)) for one in claimers]
        messages = [await put(store) for _ in range(60)]
        async with asyncio.timeout(LONG):
            assert {await told.get() for _ in messages} == set(messages)
        for one in claimers:
            one.process.kill()
        await asyncio.gather(*listening)
        assert told.empty()
        assert await listed(store) == {}
