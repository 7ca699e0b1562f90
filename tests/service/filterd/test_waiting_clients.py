"""The answers to clients that wait for the filters."""

import pytest
from tests.service.filterd.filter_bench import CONTENT, DEADLINE, ENVELOPE, Bench

from emailrelay.ack import Ack
from emailrelay.events.filters import FilterRejected, Passed
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage


async def ask(bench: Bench, ack: Ack, *specs: str) -> tuple[QueueId, Reply | None]:
    """Commit a message as a waiting client does, and give filterd's answer to the client."""
    async with bench.store.draft(ENVELOPE) as draft:
        draft.write(CONTENT)
        await draft.commit(Stage.UNFILTERED, ack)
        async with bench.filterd(*specs):
            return draft.id, await draft.answer(DEADLINE)


@pytest.mark.parametrize("ack", [Ack.FILTERED, Ack.DELIVERED])
@pytest.mark.parametrize(
    ("spec", "code"), [("exit:1", 452), ("/no/such/program", 452), ("exit:100", 250)]
)
async def test_verdict_answers_the_client_who_waits_and_leaves_nothing(
    bench: Bench, ack: Ack, spec: str, code: int
) -> None:
    message, reply = await ask(bench, ack, spec)
    assert reply is not None
    assert reply.code == code
    assert await bench.stage(message) is None


async def test_acceptance_answers_the_client_who_waits_for_the_filters(bench: Bench) -> None:
    message, reply = await ask(bench, Ack.FILTERED, "exit:0")
    assert reply is not None
    assert reply.accepted
    assert await bench.stage(message) is Stage.READY


async def test_acceptance_is_no_answer_for_the_client_who_waits_for_the_delivery(
    bench: Bench,
) -> None:
    async with bench.filterd("exit:0"), bench.store.draft(ENVELOPE) as draft:
        draft.write(CONTENT)
        await draft.commit(Stage.UNFILTERED, Ack.DELIVERED)
        await bench.after(Passed)
        assert await draft.answer(0.3) is None


async def test_rejection_is_told_with_its_reason_where_a_client_waits(bench: Bench) -> None:
    script = bench.script('echo "<<550 no>>"; echo "<<why>>"; exit 1')
    await ask(bench, Ack.FILTERED, script)
    (event,) = await bench.after(FilterRejected)
    assert isinstance(event, FilterRejected)
    assert (event.filter, event.reply, event.reason) == (script, "550 no", "why")
