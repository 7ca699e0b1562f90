"""Messages that filters split or deliver in part."""

import asyncio

from tests.service.filterd.filter_bench import CONTENT, DEADLINE, ENVELOPE, Bench

from emailrelay.envelope import Address
from emailrelay.events.delivery import Deferred, Failed
from emailrelay.events.filters import Abandoned, Passed
from emailrelay.events.store import TakenIn
from emailrelay.settlement import Done
from emailrelay.stage import Stage

SEVERAL = ENVELOPE._replace(
    to_remote=tuple(map(Address, ("a@one.test", "b@two.test", "c@ONE.test", "d@three.test")))
)


async def ready(bench: Bench, count: int) -> dict[tuple[str, ...], str]:
    """Return the recipients of messages that are ready, with their ForwardTo; take them away."""
    found = dict[tuple[str, ...], str]()
    async with bench.store.feed(Stage.READY) as feed, asyncio.timeout(DEADLINE):
        for _ in range(count):
            async with await feed.claim() as claim:
                text = b"".join([chunk async for chunk in claim.content()])
                assert text.startswith(b"X: 1\n" + CONTENT)
                assert text.count(b"X: 1") == 1
                found[claim.envelope.recipients] = claim.envelope.forward_to
                await claim.settle(Done())
    return found


async def test_each_domain_gets_a_message_that_passes_each_filter_once(bench: Bench) -> None:
    await bench.put(envelope=SEVERAL)
    script = bench.script('{ echo "X: 1"; cat "$1"; } > "$1.n"; mv "$1.n" "$1"')
    async with bench.filterd("split:", script):
        await bench.after(Passed, 3)
    assert len(await bench.after(TakenIn)) == 2
    assert await ready(bench, 3) == {
        ("a@one.test", "c@ONE.test"): "one.test",
        ("b@two.test",): "two.test",
        ("d@three.test",): "three.test",
    }


async def test_message_that_is_rejected_or_held_back_is_not_split(bench: Bench) -> None:
    later, never = await bench.put(envelope=SEVERAL), await bench.put(b"never", SEVERAL)
    script = bench.script('grep -q never "$1" && { echo "<<550 no>>"; exit 1; }; exit 9')
    async with bench.filterd("split:", script):
        await bench.after(Failed)
        await bench.after(Deferred)
    assert not [event for event in bench.events if isinstance(event, TakenIn)]
    for message, stage in ((later, Stage.UNFILTERED), (never, Stage.FAILED)):
        found = await bench.store.describe(message)
        assert found is not None
        assert (found[0], found[1].recipients) == (stage, SEVERAL.recipients)


async def test_local_recipients_are_delivered_and_the_others_forwarded(bench: Bench) -> None:
    boxes = bench.folder / "boxes"
    boxes.mkdir()
    both = ENVELOPE._replace(to_local=(Address("ann"),))
    mixed = await bench.put(envelope=both)
    await bench.put(envelope=both._replace(to_remote=()))
    async with bench.filterd(f"deliver:{boxes}"):
        await bench.after(Passed)
        await bench.after(Abandoned)
    delivered = f"Return-Path: <{ENVELOPE.sender}>\r\n".encode() + CONTENT
    assert [path.read_bytes() for path in (boxes / "ann/new").iterdir()] == [delivered] * 2
    found = await bench.store.describe(mixed)
    assert found is not None
    assert (found[0], found[1]) == (Stage.READY, ENVELOPE)
