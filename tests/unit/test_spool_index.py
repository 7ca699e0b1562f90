"""The index of due times: what a wake makes due."""

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.index import Index, hint

_ONE, _OTHER = QueueId("1.1.1"), QueueId("1.1.2")


def test_wake_makes_deferred_messages_due() -> None:
    index = Index()
    index.add(hint(_ONE, 1000.0))
    assert index.pop(now=0.0) is None

    index.wake()

    found = index.pop(now=0.0)
    assert found is not None
    assert found.message == _ONE
    assert found.forced


def test_message_that_was_noted_several_times_is_due_once_after_a_wake() -> None:
    index = Index()
    for due in (100.0, 200.0, 300.0):
        index.add(hint(_ONE, due))
    index.add(hint(_OTHER, 150.0))

    index.wake()

    woken = [found.message for found in iter(lambda: index.pop(now=0.0), None)]
    assert woken == [_ONE, _OTHER]
