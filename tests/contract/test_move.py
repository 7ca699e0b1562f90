"""A move between any two stores: each message once, as it was, whatever stops the move."""

import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.contract.conftest import STORES
from tests.contract.mail import (
    ANN,
    BOB,
    ENVELOPE,
    LATER,
    NEVER,
    OK,
    Opener,
    claimed,
    content_of,
    history_of,
    listed,
    put,
    stages,
)

from emailrelay.ack import Ack
from emailrelay.errors import StoreError
from emailrelay.journal import Attempt
from emailrelay.queue_id import QueueId
from emailrelay.settlement import Defer, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.move import Mover

NAMED = ENVELOPE._replace(message_id="<1@x.test>")
LARGE = b"Subject: large\r\n\r\n" + b"x" * 1_000_000 + b"\r\n"
PAIRS = [
    (source, target)
    for source in ("spool", "postgres", "memory")
    for target in ("spool", "log", "postgres", "memory")
]


@pytest.fixture(params=PAIRS, ids="-".join)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Opener, Opener]:
    source, target = request.param
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    return STORES[source].opener(tmp_path / "from"), STORES[target].opener(tmp_path / "to")


def mover(source: Store, target: Store) -> Mover:
    return Mover(source=source, target=target, origin="here", clock=time.time)


async def filled(source: Store) -> dict[QueueId, Stage]:
    """Put messages of all kinds in; return their stages."""
    new = await put(source, stage=Stage.UNFILTERED, envelope=NAMED)
    fresh = await put(source, LARGE, envelope=NAMED)
    deferred, failed, held = [await put(source, envelope=NAMED) for _ in range(3)]
    attempt = Attempt(
        at=time.time(),
        peer="there:25",
        replies={ANN: OK, BOB: LATER},
        next_attempt=time.time() + 5000,
    )
    async with await claimed(source, deferred) as claim:
        await claim.settle(Defer(attempt))
    async with await claimed(source, failed) as claim:
        await claim.settle(Fail(NEVER))
    assert await source.hold(held)
    return {
        new: Stage.UNFILTERED,
        fresh: Stage.READY,
        deferred: Stage.READY,
        failed: Stage.FAILED,
        held: Stage.HELD,
    }


async def test_messages_arrive_as_they_were(pair: tuple[Opener, Opener]) -> None:
    async with pair[0]() as source, pair[1]() as target:
        expected = await filled(source)
        before = {message: await history_of(source, message) for message in expected}
        move = mover(source, target)
        await move.run()
        assert (move.moved, move.left) == (len(expected), {})
        assert await stages(source) == {}
        assert await stages(target) == expected
        for message, stage in expected.items():
            after = await history_of(target, message)
            assert after.delivered == before[message].delivered
            assert after.next_attempt == before[message].next_attempt
            assert after.accepted_at == before[message].accepted_at
            assert after.failed == before[message].failed
            claim = await target.claim(stage, message, due_only=False)
            assert claim is not None
            async with claim:
                assert claim.envelope == NAMED
                content = await content_of(claim)
                assert len(content) == claim.size
                assert content == LARGE if claim.size > 1000 else content.startswith(b"Subject: x")
        (waits,) = [m for m in expected if before[m].next_attempt is not None]
        assert await target.claim(Stage.READY, waits) is None, "its retry time is lost"


Step = Callable[..., Awaitable[object]]


@pytest.mark.parametrize("step", ["mark", "adopt before", "adopt after", "arrive"])
async def test_move_that_stopped_at_any_step_is_finished_by_the_next(
    pair: tuple[Opener, Opener], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(store: Store, name: str, *, after: bool = False) -> None:
        act: Step = getattr(store, name)

        async def stop(*given: object, **named: object) -> object:
            if after:
                await act(*given, **named)
            raise StoreError("test", "the process died here")

        monkeypatch.setattr(store, name, stop)

    async with pair[0]() as source, pair[1]() as target:
        expected = await filled(source)
        match step:
            case "mark":
                stops(source, "wish", after=True)
            case "adopt before" | "adopt after":
                stops(target, "adopt", after=step.endswith("after"))
            case _:
                stops(target, "wish")
        stopped = mover(source, target)
        await stopped.run()
        assert set(stopped.left) == set(expected)
        monkeypatch.undo()
        both = {**await stages(source), **await stages(target)}
        assert set(both) == set(expected), "a message is in neither store"
        assert set(both.values()) == {Stage.HELD}, "a service can work on one of two copies"
        await mover(source, target).run()
        assert await stages(source) == {}
        assert await stages(target) == expected


async def test_message_goes_there_and_back(pair: tuple[Opener, Opener]) -> None:
    async with pair[0]() as source, pair[1]() as target:
        message = await put(source)
        await mover(source, target).run()
        await mover(target, source).run()
        assert await stages(target) == {}
        assert await stages(source) == {message: Stage.READY}
        async with await claimed(source, message) as claim:
            assert await content_of(claim) == b"Subject: x\r\n\r\nx\r\n"


async def test_claimed_message_stays_until_its_claim_ends(pair: tuple[Opener, Opener]) -> None:
    async with pair[0]() as source, pair[1]() as target:
        message = await put(source)
        claim = await claimed(source, message)
        first = mover(source, target)
        await first.run()
        assert set(first.left) == {message}
        await claim.release()
        await mover(source, target).run()
        assert (await stages(source), await stages(target)) == ({}, {message: Stage.READY})


async def test_client_that_waits_for_the_next_server_keeps_its_message(
    pair: tuple[Opener, Opener],
) -> None:
    async with pair[0]() as source, pair[1]() as target:
        async with source.draft(ENVELOPE) as draft:
            draft.write(b"x\r\n")
            await draft.commit(Stage.READY, Ack.DELIVERED)
            move = mover(source, target)
            await move.run()
            assert set(move.left) == {draft.id}
        assert await listed(target) == {}
