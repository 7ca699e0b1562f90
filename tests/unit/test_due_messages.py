"""A scan does not hand out again what was handed out in the last two seconds."""

import asyncio
import time

import pytest

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.feed import lately_given
from emailrelay.store.spool.feed.due_messages import DueMessages
from emailrelay.store.spool.feed.lately_given import LatelyGiven
from emailrelay.store.spool.wake.index import scheduled

HANG = 20.0
ONE, OTHER = QueueId("1.1.1"), QueueId("1.1.2")


async def _scan(messages: DueMessages, *found: QueueId) -> None:
    await messages.scan(iter([[scheduled(each, 0.0) for each in found]]))


@pytest.fixture
def rest(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let messages that were handed out rest for so many seconds."""
    monkeypatch.setattr(lately_given, "REST", request.param)


async def _handed_out() -> DueMessages:
    """Return an index that has handed out ONE."""
    messages = DueMessages(time.time)
    messages.note(ONE, 0.0)
    await _scan(messages)
    assert (await messages.next()).message == ONE
    return messages


@pytest.mark.parametrize(
    ("rest", "handed_out"), [(1000.0, [OTHER]), (0.0, [ONE, OTHER])], indirect=["rest"]
)
@pytest.mark.usefixtures("rest")
async def test_scan_leaves_what_was_handed_out_lately_and_finds_the_others(
    handed_out: list[QueueId],
) -> None:
    messages = await _handed_out()
    await _scan(messages, ONE, OTHER)
    assert sorted(each.message for each in messages.more(10)) == handed_out
    messages.close()


@pytest.mark.parametrize("rest", [0.2], indirect=True)
@pytest.mark.usefixtures("rest")
async def test_what_was_left_is_handed_out_again_without_another_scan() -> None:
    messages = await _handed_out()
    await _scan(messages, ONE)
    async with asyncio.timeout(HANG):
        assert (await messages.next()).message == ONE
    messages.close()


@pytest.mark.parametrize("rest", [1000.0], indirect=True)
@pytest.mark.usefixtures("rest")
async def test_message_that_was_put_off_is_tried_when_it_is_due() -> None:
    messages = await _handed_out()
    messages.note(ONE, time.time() + 1000.0)
    await _scan(messages, ONE)  # its file has another time
    assert [each.message for each in messages.more(10)] == [ONE]
    messages.close()


def test_notes_of_long_ago_are_dropped() -> None:
    given = LatelyGiven()
    for step in range(100):
        given.note(QueueId(f"1.1.{step}"), step * lately_given.REST)
    assert len(given) == 2


def test_message_that_was_handed_out_lately_rests() -> None:
    given = LatelyGiven()
    given.note(ONE, 100.0)
    given.note(OTHER, 100.0 + lately_given.REST)
    assert given.rest(ONE, 100.5) == lately_given.REST - 0.5
    assert given.rest(ONE, 101.0 + lately_given.REST) == 0.0
    assert given.rest(QueueId("1.1.3"), 100.0) == 0.0


def test_message_with_news_does_not_rest() -> None:
    given = LatelyGiven()
    given.note(ONE, 100.0)
    given.note(OTHER, 100.0 + lately_given.REST)
    given.forget(ONE)
    given.forget(OTHER)
    assert given.rest(ONE, 100.0) == given.rest(OTHER, 100.0) == 0.0
