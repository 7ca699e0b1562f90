"""The work of filterd: several messages at once, its stop, and trouble with the store."""

import asyncio

import pytest
from tests.service.enough_time import with_enough_time
from tests.service.filterd.filter_bench import CONTENT, DEADLINE, Bench, alive, eventually

from emailrelay.errors import StoreError
from emailrelay.events.filters import FilterTrouble, NoFilter, Passed
from emailrelay.events.store import StoreTrouble, TakenIn
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Settlement
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim
from emailrelay_filterd import missing_filters


async def test_hanging_filter_holds_back_its_message_and_no_other(bench: Bench) -> None:
    script = bench.script('grep -q hang "$1" && sleep 60; exit 0')

    async def attempt(seconds: float) -> bool:
        bench.timeout = seconds
        bench.events.clear()
        hanging = await bench.put(b"Subject: hang\r\n\r\n")
        others = [await bench.put() for _ in range(5)]
        async with bench.filterd(script, jobs=2):
            for message in (hanging, *others):
                await bench.tried_or_passed(message)
            if {await bench.stage(other) for other in others} != {Stage.READY}:
                return False
            (event,) = await bench.after(FilterTrouble)
        assert isinstance(event, FilterTrouble)
        assert (event.id, event.reason) == (hanging, f"no verdict within {seconds:g} s")
        assert await bench.stage(hanging) is Stage.UNFILTERED
        return True

    await with_enough_time(attempt)


async def test_as_many_chains_run_at_once_as_there_are_jobs(bench: Bench) -> None:
    for _ in range(4):
        await bench.put()
    # Each program waits until all four have come: they can only end together.
    meet = (
        f"touch {bench.folder}/came.$$; "
        f"until [ $(ls {bench.folder}/came.* | wc -l) = 4 ]; do sleep 0.05; done"
    )
    async with bench.filterd(bench.script(meet), jobs=4):
        await bench.after(Passed, 4)


async def test_message_put_beside_the_files_is_taken_in(bench: Bench) -> None:
    await bench.put()
    copy = """
        to=$(dirname "$1")/emailrelay.7.8.9
        { echo second; cat "$1"; } > $to.content; cp "$2" $to.envelope; exit 103
    """
    async with bench.filterd(bench.script(copy)):
        (event,) = await bench.after(TakenIn)
        await bench.after(Passed)
    assert isinstance(event, TakenIn)
    assert await bench.content(event.id, Stage.READY) == b"second\n" + CONTENT


async def test_stop_kills_the_running_filter_and_leaves_the_message(bench: Bench) -> None:
    message = await bench.put()
    pid = bench.folder / "pid"
    script = bench.script(f'echo spoilt > "$1"; echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60')
    async with bench.filterd(script):
        await eventually(pid.exists)
    assert not alive(int(pid.read_text()))
    assert await bench.content(message, Stage.UNFILTERED) == CONTENT
    assert not bench.events


async def test_stop_lets_a_quick_filter_finish(bench: Bench) -> None:
    message = await bench.put()
    bench.drain = DEADLINE
    pid = bench.folder / "pid"
    async with bench.filterd(bench.script(f"touch {pid}; sleep 0.05")):
        await eventually(pid.exists)
    assert await bench.stage(message) is Stage.READY


async def test_nothing_is_claimed_after_the_stop(bench: Bench) -> None:
    async with bench.filterd("exit:0") as stop:
        stop.set()
        message = await bench.put()
    assert await bench.stage(message) is Stage.UNFILTERED


async def test_without_a_filter_mail_stays_and_the_log_says_so(bench: Bench) -> None:
    message = await bench.put()
    stop = asyncio.Event()
    watch = asyncio.create_task(
        missing_filters.watch(bench.store, stop, bench.report, lambda: True)
    )
    (event,) = await bench.after(NoFilter)
    stop.set()
    async with asyncio.timeout(DEADLINE):
        await watch
    assert event == NoFilter(waiting=1)
    assert await bench.stage(message) is Stage.UNFILTERED


async def type_of_claims(bench: Bench, message: QueueId) -> type[Claim]:
    """Return the class of the store's claims, whose methods a test can replace."""
    claim = await bench.store.claim(Stage.UNFILTERED, message)
    assert claim is not None
    await claim.release()
    return type(claim)


async def test_store_that_cannot_settle_leaves_the_message_and_the_work_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = await bench.put()
    claims = await type_of_claims(bench, message)
    settle = claims.settle

    async def refuse_one(self: Claim, settlement: Settlement, answer: Reply | None = None) -> None:
        if self.id == message:
            raise StoreError("settling", OSError(28, "No space left on device"))
        await settle(self, settlement, answer)

    monkeypatch.setattr(claims, "settle", refuse_one)
    async with bench.filterd("exit:0", jobs=2):
        await bench.after(StoreTrouble)
        other = await bench.put()
        await bench.after(Passed)
    assert await bench.stage(message) is Stage.UNFILTERED
    assert await bench.stage(other) is Stage.READY


async def test_message_that_is_being_settled_takes_no_place_in_the_filters(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await bench.put()
    claims = await type_of_claims(bench, first)
    settle, lasts = claims.settle, asyncio.Event()

    async def settle_first_late(
        self: Claim, settlement: Settlement, answer: Reply | None = None
    ) -> bool:
        if self.id == first:
            await lasts.wait()
        return await settle(self, settlement, answer)

    monkeypatch.setattr(claims, "settle", settle_first_late)
    async with bench.filterd("exit:0", jobs=1):
        await bench.put()
        await bench.after(Passed)
        assert await bench.stage(first) is Stage.UNFILTERED
        lasts.set()
        await bench.after(Passed, 2)
