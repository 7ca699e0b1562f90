"""The connection breaks at each message of the protocol: what the store has said stays true."""

import itertools
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.contract.conftest import PostgresOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import ENVELOPE, claimed, content_of, listed, put, stages, write
from tests.faults.extent import extent

from emailrelay.errors import StoreError
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Done, Hold, Pass
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.chooser import open_store

EACH = extent(18, 1)
"""The step from one message of the protocol to the next that is tried."""

Scenario = Callable[[Store, Store, Callable[[], None]], Awaitable[None]]


async def commit(store: Store, other: Store, arm: Callable[[], None], size: int = 100) -> None:
    """What is committed is there whole; what is not is not there."""
    before = await listed(other)
    draft = store.draft(ENVELOPE)
    content = bytes(size)
    arm()
    try:
        await write(draft, *(content[n : n + CHUNK] for n in range(0, size, CHUNK)))
        await draft.commit(Stage.READY)
    except StoreError:
        await draft.discard()
        assert await listed(other) == before
    else:
        async with await claimed(other, draft.id) as claim:
            assert await content_of(claim) == content
            await claim.settle(Done())


async def commit_large(store: Store, other: Store, arm: Callable[[], None]) -> None:
    await commit(store, other, arm, size=5 * CHUNK)


async def finish(store: Store, other: Store, arm: Callable[[], None]) -> None:
    """A settlement is made, once the message is claimed."""
    message = await put(other, b"x" * 100)
    if await settled(store, message, arm, Stage.READY, Done()):
        assert await listed(other) == {}


async def hold(store: Store, other: Store, arm: Callable[[], None]) -> None:
    message = await put(other, b"x" * 100)
    if await settled(store, message, arm, Stage.READY, Hold()):
        assert await stages(other) == {message: Stage.HELD}


async def adopt(store: Store, other: Store, arm: Callable[[], None]) -> None:
    """A filter's edit is made whole, or not at all."""
    message = await put(other, b"x" * 100, Stage.UNFILTERED)
    arm()
    try:
        claim = await store.claim(Stage.UNFILTERED, message)
        assert claim is not None
        copy = await claim.work_copy("new")
        copy.content.write_bytes(b"y" * 50)
        await claim.settle(Pass())
    except StoreError:
        assert await stages(other) == {message: Stage.UNFILTERED}
        return
    async with await claimed(other, message) as edited:
        assert await content_of(edited) == b"y" * 50


async def settled(
    store: Store, message: QueueId, arm: Callable[[], None], stage: Stage, how: Done | Hold
) -> bool:
    arm()
    try:
        claim = await store.claim(stage, message)
    except StoreError:
        return False
    assert claim is not None
    try:
        await claim.before_dot("smarthost.test:25")
    except StoreError:
        await claim.release()
        return False
    await claim.settle(how)
    return True


@pytest.mark.parametrize("scenario", [commit, commit_large, finish, hold, adopt])
async def test_connection_breaks_at_each_message(tmp_path: Path, scenario: Scenario) -> None:
    database = PostgresOpener(tmp_path)
    number = first = random.randrange(1, EACH + 1)  # noqa: S311 -- no secret
    async with DatabaseProxy.before(database.server.directory) as proxy, database() as other:
        url = database.server.url(database.name, host=str(proxy.directory))
        for number in itertools.count(first, EACH):
            proxy.lost.clear()
            async with open_store(url, report=database.reports.append) as store:

                def arm(number: int = number) -> None:
                    proxy.cut_in = number

                await scenario(store, other, arm)
                cut, proxy.cut_in = proxy.lost.is_set(), None
            database.run("delete from emailrelay.message")
            database.run("delete from emailrelay.body")
            if not cut:
                break
    assert number > first or EACH > 1
