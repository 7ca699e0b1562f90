"""Several databases: mail goes into any that answers, and comes out of all of them."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from tests.contract.conftest import SeveralOpener
from tests.contract.database_proxy import DatabaseProxy
from tests.contract.mail import ENVELOPE, PATIENCE, listed, next_of, put

from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.routes import Rate
from emailrelay.settlement import Done
from emailrelay.stage import Stage
from emailrelay.store import several as several_module
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store
from emailrelay.store.postgres.store import PostgresStore


@asynccontextmanager
async def first_cut_off(several: SeveralOpener) -> AsyncGenerator[tuple[str, DatabaseProxy]]:
    """Put a proxy before the first database; give the place of both."""
    first, second = several.databases
    async with DatabaseProxy.before(first.server.directory) as proxy:
        yield f"{first.server.url(first.name, host=str(proxy.directory))} {second.url}", proxy


async def taken(store: Store, count: int) -> set[str]:
    """Claim and finish so many messages."""
    async with store.feed(Stage.READY) as feed:
        found: set[str] = set()
        for _ in range(count):
            async with await next_of(feed) as claim:
                await claim.settle(Done())
                found.add(claim.id)
    return found


async def test_mail_of_all_databases_is_claimed_and_listed(several: SeveralOpener) -> None:
    first, second = several.databases
    async with first() as one, second() as two, several() as both:
        messages = {await put(store) for store in (one, two) for _ in range(20)}
        assert set(await listed(both)) == messages
        assert await taken(both, 40) == messages
        assert await listed(both) == {}


async def test_two_workers_share_the_mail_of_two_databases(several: SeveralOpener) -> None:
    first, second = several.databases
    async with first() as one, second() as two, several() as both, both.feed(Stage.READY) as feed:

        async def work() -> int:
            count = 0
            while count < 20:
                async with await next_of(feed) as claim:
                    await claim.settle(Done())
                    count += 1
            return count

        working = asyncio.gather(work(), work())
        for _ in range(20):
            await put(one)
            await put(two)
        assert sum(await working) == 40
        assert await listed(both) == {}


async def test_receiver_uses_the_other_database_while_one_is_away(several: SeveralOpener) -> None:
    async with contextlib.AsyncExitStack() as stack:
        place, proxy = await stack.enter_async_context(first_cut_off(several))
        async with open_store(place, report=several.reports.append) as store:
            before = [await put(store) for _ in range(3)]
            proxy.refuses = True
            proxy.cut()
            async with asyncio.timeout(PATIENCE):
                for _ in range(3):
                    while True:
                        try:
                            before.append(await put(store))
                        except StoreError:
                            continue
                        break
            assert store.unavailable() is None
            store.draft(ENVELOPE)
            proxy.refuses = False
            assert await taken(store, 6) == set(before)


async def test_database_that_is_away_at_the_start_joins_later(
    several: SeveralOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several_module, "_PAUSE", 0.1)
    first, second = several.databases
    async with first() as one, second() as two:
        messages = {await put(one), await put(two)}
    async with first_cut_off(several) as (place, proxy):
        proxy.refuses = True
        async with (
            open_store(place, report=several.reports.append) as store,
            store.feed(Stage.READY) as feed,
        ):
            found: set[str] = set()
            async with await next_of(feed) as claim:
                await claim.settle(Done())
                found.add(claim.id)
            with pytest.raises(StoreError, match="unavailable"):
                await listed(store)
            waiting = asyncio.create_task(next_of(feed))
            proxy.refuses = False
            async with await waiting as claim:
                await claim.settle(Done())
                found.add(claim.id)
            assert found == messages
            assert await listed(store) == {}


async def test_limits_of_a_route_used_before_the_first_database_was_there(
    several: SeveralOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(several_module, "_PAUSE", 0.1)
    async with first_cut_off(several) as (place, proxy):
        proxy.refuses = True
        async with open_store(place, report=several.reports.append) as store:
            limits = store.limits("isp")
            with pytest.raises(StoreError, match="away"):
                await limits.slot(1, within=0.0)
            proxy.refuses = False
            taken = False
            async with asyncio.timeout(PATIENCE):
                while not taken:
                    with contextlib.suppress(StoreError):
                        taken = await limits.slot(1, within=0.0) is not None
                    await asyncio.sleep(0.01)
            assert await limits.permit(Rate(1, 60.0)) == 0.0


async def test_store_that_joins_is_entered_once_although_it_cannot_be_told_at_first(
    several: SeveralOpener, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[PostgresStore] = []
    failures = [StoreError("note", "not now"), StoreError("note", "not now")]
    enter, note = PostgresStore.__aenter__, PostgresStore.set_entrance

    async def entering(store: PostgresStore) -> PostgresStore:
        opened = await enter(store)
        entered.append(store)
        return opened

    async def noting(store: PostgresStore, stage: Stage) -> None:
        if len(entered) > 1 and failures:
            raise failures.pop()
        await note(store, stage)

    monkeypatch.setattr(several_module, "_PAUSE", 0.1)
    monkeypatch.setattr(PostgresStore, "__aenter__", entering)
    monkeypatch.setattr(PostgresStore, "set_entrance", noting)
    async with first_cut_off(several) as (place, proxy):
        proxy.refuses = True
        async with open_store(place, report=several.reports.append) as store:
            await store.set_entrance(Stage.UNFILTERED)
            proxy.refuses = False
            first = several.databases[0]
            async with asyncio.timeout(PATIENCE):
                while not first.run("select stage from emailrelay.entrance"):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert failures == []
            assert len(entered) == 2


async def test_store_does_not_open_while_all_databases_are_away(several: SeveralOpener) -> None:
    async with DatabaseProxy.before(several.databases[0].server.directory) as proxy:
        proxy.refuses = True
        first, second = several.databases
        place = " ".join(
            each.server.url(each.name, host=str(proxy.directory)) for each in (first, second)
        )
        with pytest.raises(StoreError):
            async with open_store(place, report=several.reports.append):
                pass


def test_databases_and_other_stores_do_not_mix(several: SeveralOpener) -> None:
    with pytest.raises(StoreUnusable, match="each is postgresql"):
        open_store(f"{several.databases[0].url} memory:", report=several.reports.append)
