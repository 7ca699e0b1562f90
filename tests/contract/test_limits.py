"""Limits of a route hold over all processes that have the store open."""

import asyncio
import shutil
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.conftest import MemoryOpener, SpoolOpener
from tests.contract.mail import Opener

from emailrelay.routes import Rate
from emailrelay.store.base import Store
from emailrelay.store.limits import Slot

LIMIT = 20.0
"""A generous limit, in seconds, for work of milliseconds."""


@asynccontextmanager
async def two(opener: Opener) -> AsyncGenerator[tuple[Store, Store]]:
    async with opener() as one, opener() as other:
        yield one, other


async def take(store: Store, most: int, *, route: str = "isp", within: float = 0) -> Slot | None:
    return await store.limits(route).slot(most, within=within)


async def surely(store: Store, most: int, *, within: float = 0) -> Slot:
    slot = await take(store, most, within=within)
    assert slot is not None
    return slot


async def test_there_are_no_more_slots_than_allowed_over_two_openers(opener: Opener) -> None:
    async with two(opener) as (one, other):
        first, second = await surely(one, 2), await surely(other, 2)
        assert await take(one, 2) is None
        assert await take(other, 2) is None
        assert await take(other, 2, route="another") is not None
        first.release()
        first.release()
        assert await take(other, 2) is not None
        assert await take(one, 2) is None
        second.release()


async def test_who_waits_gets_the_slot_that_becomes_free(opener: Opener) -> None:
    async with two(opener) as (one, other):
        slot = await surely(one, 1)
        assert not slot.wanted()
        waiting = asyncio.create_task(surely(other, 1, within=LIMIT))
        async with asyncio.timeout(LIMIT):
            while not slot.wanted():  # noqa: ASYNC110 -- the wish is seen by asking
                await asyncio.sleep(0)
        slot.release()
        async with asyncio.timeout(LIMIT):
            taken = await waiting
        assert not taken.wanted()
        taken.release()


async def test_waiting_in_vain_ends_and_is_no_wish_any_more(opener: Opener) -> None:
    async with two(opener) as (one, other):
        slot = await surely(one, 1)
        assert await take(other, 1, within=0.01) is None
        assert not slot.wanted()


async def test_a_wait_can_be_cancelled(opener: Opener) -> None:
    async with two(opener) as (one, other):
        slot = await surely(one, 1)
        waiting = asyncio.create_task(take(other, 1, within=LIMIT))
        async with asyncio.timeout(LIMIT):
            while not slot.wanted():  # noqa: ASYNC110 -- as above
                await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not slot.wanted()
        slot.release()
        assert await take(one, 1) is not None


async def test_messages_are_counted_over_two_openers(opener: Opener) -> None:
    now = 1000.0
    rate = Rate(3, 60)
    async with opener(lambda: now) as one, opener(lambda: now) as other:
        mine, theirs = one.limits("isp"), other.limits("isp")
        assert await mine.permit(rate) == 0
        now = 1010.0
        assert await theirs.permit(rate) == 0
        assert await mine.permit(rate) == 0
        assert await theirs.permit(rate) == 50
        assert await other.limits("another").permit(rate) == 0
        now = 1060.0
        assert await theirs.permit(rate) == 0
        assert await mine.permit(rate) == 10


async def test_a_clock_that_was_put_back_stops_nothing(opener: Opener) -> None:
    now = 1_000_000.0
    async with opener(lambda: now) as store:
        limits = store.limits("isp")
        assert await limits.permit(Rate(1, 60)) == 0
        now = 1000.0
        assert await limits.permit(Rate(1, 60)) == 0
        assert await limits.permit(Rate(1, 60)) == 60


async def test_another_rate_counts_anew(opener: Opener) -> None:
    async with opener(lambda: 1000.0) as store:
        limits = store.limits("isp")
        assert await limits.permit(Rate(1, 60)) == 0
        assert await limits.permit(Rate(1, 60)) > 0
        assert await limits.permit(Rate(2, 60)) == 0


@given(pauses=st.lists(st.floats(0, 30), max_size=40), messages=st.integers(1, 5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_span_of_time_has_more_messages_than_the_rate(
    tmp_path: Path, pauses: list[float], messages: int
) -> None:
    async def permitted(opener: Opener) -> list[float]:
        now, sent = 1000.0, list[float]()
        async with opener(lambda: now) as store:
            for pause in pauses:
                now += pause
                wait = await store.limits("isp").permit(Rate(messages, 60))
                assert 0 <= wait <= 60
                if not wait:
                    sent.append(now)
        return sent

    shutil.rmtree(tmp_path / "spool", ignore_errors=True)
    sent = asyncio.run(permitted(SpoolOpener(tmp_path)))
    assert sent == asyncio.run(permitted(MemoryOpener(tmp_path)))
    assert all(later >= sent[n] + 60 for n, later in enumerate(sent[messages:]))


async def test_slots_of_a_killed_process_are_free_at_once(spool: SpoolOpener) -> None:
    async with spool() as store:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.contract.slot_holder", str(spool.directory), "isp", "1"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            async with asyncio.timeout(LIMIT):
                assert await process.stdout.readline() == b"held\n"
            assert await take(store, 1) is None
            process.send_signal(signal.SIGKILL)
            async with asyncio.timeout(LIMIT):
                await process.wait()
            assert await take(store, 1) is not None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_a_directory_cleared_by_hand_is_made_again(spool: SpoolOpener) -> None:
    async with spool() as store:
        assert await take(store, 1) is not None
        shutil.rmtree(spool.directory / ".slots")
        slot = await surely(store, 1)
        assert await take(store, 1) is None
        slot.release()
        assert await store.limits("isp").permit(Rate(1, 60)) == 0


async def test_a_spool_without_limits_has_no_files_for_them(spool: SpoolOpener) -> None:
    async with spool() as store:
        store.limits("isp")
        assert not (spool.directory / ".slots").exists()
