"""A commit is confirmed only when the standby has it, whatever happened to its first try."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.contract.mail import claimed, listed, put
from tests.faults.cluster import Cluster

from emailrelay.settlement import Done
from emailrelay.store.chooser import open_store


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    try:
        yield made
    finally:
        made.remove()


def ignore(_event: object) -> None:
    pass


async def crash_and_wait(cluster: Cluster, work: "asyncio.Task[object]", written: str) -> None:
    """Crash the primary while ``work`` waits for the standby; wait until it does so again."""
    await until_true(cluster, work, _WAITS)
    cluster.primary.kill()
    cluster.primary.start()
    assert cluster.asked(written), "the crash has lost what it was to leave"
    await until_true(cluster, work, _WAITS)


_WAITS = "select count(*) > 0 from pg_stat_activity where wait_event = 'SyncRep'"


async def until_true(cluster: Cluster, work: "asyncio.Task[object]", statement: str) -> None:
    async with asyncio.timeout(60):
        while not work.done() and not cluster.asked(statement):  # noqa: ASYNC110 -- seen by asking
            await asyncio.sleep(0.02)


async def test_commit_that_a_crash_left_on_one_server_is_not_confirmed(cluster: Cluster) -> None:
    async with open_store(cluster.url, report=ignore) as store:
        await put(store)
        cluster.standby.kill()
        putting = asyncio.create_task(put(store))
        await crash_and_wait(cluster, putting, "select count(*) = 2 from emailrelay.message")
        cluster.fail_over()
        cluster.repair()
        assert await putting in await listed(store)


async def test_settlement_that_a_crash_left_on_one_server_is_made_again(cluster: Cluster) -> None:
    async with open_store(cluster.url, report=ignore) as store:
        claim = await claimed(store, await put(store))
        cluster.standby.kill()
        settling = asyncio.create_task(claim.settle(Done()))
        await crash_and_wait(cluster, settling, "select count(*) = 0 from emailrelay.message")
        cluster.fail_over()
        cluster.repair()
        await settling
        assert await listed(store) == {}
