"""Filters that put a message off, fail it or have trouble."""

import time

from tests.service.filterd.filter_bench import CONTENT, Bench

from emailrelay.events.delivery import Deferred, Failed
from emailrelay.events.filters import FilterTrouble, Passed
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.stage import Stage


async def test_4yz_is_tried_again_later_with_the_original(bench: Bench) -> None:
    message = await bench.put()
    before = time.time()
    spoil = bench.script(
        'echo spoilt > "$1"; echo "<<451 4.7.1 later>>"; echo "<<greylisted>>"; exit 1'
    )
    async with bench.filterd(spoil):
        (event,) = await bench.after(Deferred)
    assert isinstance(event, Deferred)
    assert event.reason == f"{spoil}: 451 4.7.1 later (greylisted)"
    assert event.next_attempt is not None
    assert event.next_attempt >= before + 60
    found = await bench.store.describe(message)
    assert found is not None
    assert found[0] is Stage.UNFILTERED
    assert found[2].last_attempt is not None
    assert found[2].last_attempt.trouble == Reply(451, "4.7.1 later")
    assert await bench.content(message, Stage.UNFILTERED) == CONTENT


async def test_deferred_message_passes_at_its_next_try(bench: Bench) -> None:
    bench.schedule = Schedule(first=0.2, longest=0.2, spread=0.0)
    message = await bench.put()
    flag = bench.folder / "flag"
    async with bench.filterd(bench.script(f"[ -e {flag} ] || {{ touch {flag}; exit 1; }}")):
        await bench.after(Passed)
    assert await bench.stage(message) is Stage.READY


async def test_message_refused_with_4yz_for_too_long_fails(bench: Bench) -> None:
    bench.schedule = Schedule(max_age=0.0)
    message = await bench.put()
    async with bench.filterd("exit:1"):
        await bench.after(Failed)
    assert await bench.stage(message) is Stage.FAILED


async def test_5yz_fails_the_message_with_its_reason(bench: Bench) -> None:
    message = await bench.put()
    async with bench.filterd(bench.script('echo "<<554 5.7.1 spam>>"; exit 1')):
        await bench.after(Failed)
    found = await bench.store.describe(message)
    assert found is not None
    assert found[0] is Stage.FAILED
    assert found[2].failed is not None
    assert found[2].failed.reason == Reply(554, "5.7.1 spam")


async def test_failed_message_keeps_the_original_content(bench: Bench) -> None:
    message = await bench.put()
    async with bench.filterd(bench.script(': > "$1"')):
        await bench.after(Failed)
    assert await bench.content(message, Stage.FAILED) == CONTENT


async def test_same_trouble_is_told_once_but_holds_back_all_mail(bench: Bench) -> None:
    messages = [await bench.put() for _ in range(3)]
    async with bench.filterd("/no/such/program", jobs=1):
        for message in messages:
            await bench.tried(message)
    assert len([e for e in bench.events if isinstance(e, FilterTrouble)]) == 1
    assert {await bench.stage(message) for message in messages} == {Stage.UNFILTERED}
