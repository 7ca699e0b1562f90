"""The index of due times: a wake makes messages due, and no message goes before all others."""

from emailrelay.queue_id import QueueId
from emailrelay.store.spool.wake.index import Index, scheduled

_ONE, _OTHER = QueueId("1.1.1"), QueueId("1.1.2")


def test_wake_makes_deferred_messages_due() -> None:
    index = Index()
    index.add(scheduled(_ONE, 1000.0))
    assert index.pop(now=0.0) is None

    index.wake()

    found = index.pop(now=0.0)
    assert found is not None
    assert found.message == _ONE
    assert found.forced


def test_message_that_was_noted_several_times_is_due_once_after_a_wake() -> None:
    index = Index()
    for due in (100.0, 200.0, 300.0):
        index.add(scheduled(_ONE, due))
    index.add(scheduled(_OTHER, 150.0))

    index.wake()

    woken = [found.message for found in iter(lambda: index.pop(now=0.0), None)]
    assert woken == [_ONE, _OTHER]


def test_news_and_what_has_waited_are_served_by_turns() -> None:
    index = Index()
    old = [QueueId(f"1.1.{number}") for number in range(4)]
    new = [QueueId(f"2.1.{number}") for number in range(2)]
    for age, message in enumerate(old):
        index.add(scheduled(message, age))
    for message in new:
        index.tell(scheduled(message, 100.0))

    served = [found.message for found in iter(lambda: index.pop(now=100.0), None)]

    assert served == [new[0], old[0], new[1], old[1], old[2], old[3]]


def test_announced_message_is_due_in_any_state_of_the_index() -> None:
    index = Index()
    index.add(scheduled(_ONE, 1000.0))
    index.tell(scheduled(_OTHER, 10.0))
    assert (index.next_due() or 0.0) <= 10.0
    index.replace([scheduled(_ONE, 1000.0)], ())
    found = index.pop(now=10.0)
    assert found is not None
    assert found.message == _OTHER
    assert index.pop(now=10.0) is None


def test_message_told_twice_is_served_once_and_may_be_told_again_afterwards() -> None:
    index = Index()
    for _ in range(2):
        index.tell(scheduled(_ONE, 10.0))
    assert index.told(_ONE)
    assert not index.told(_OTHER)
    assert [found.message for found in iter(lambda: index.pop(now=10.0), None)] == [_ONE]
    assert not index.told(_ONE)

    index.tell(scheduled(_ONE, 10.0))
    assert [found.message for found in iter(lambda: index.pop(now=10.0), None)] == [_ONE]


def test_flood_of_unseen_messages_is_not_kept() -> None:
    index = Index()
    told = [index.tell(scheduled(QueueId(f"1.2.{number}"), 0.0)) for number in range(50_000)]
    later = [index.tell_later(scheduled(QueueId(f"1.3.{number}"), 9.0)) for number in range(50_000)]
    assert told[0]
    assert later[0]
    assert not told[-1]
    assert not later[-1]
    assert len(index) < 25_000


def test_as_many_may_be_told_of_as_a_scan_has_found() -> None:
    index = Index()
    index.replace([scheduled(QueueId(f"1.2.{number}"), 9.0) for number in range(50_000)], ())
    assert all(
        index.tell_later(scheduled(QueueId(f"1.2.{number}"), 10.0)) for number in range(50_000)
    )


class _CountedId(str):
    """An id that counts how often it is looked at."""

    __slots__ = ("looks",)

    def __hash__(self) -> int:
        """Count, and be the same as the text."""
        self.looks = getattr(self, "looks", 0) + 1
        return super().__hash__()


def test_recalled_messages_are_tried_once_each_in_their_order() -> None:
    index = Index()
    index.recall([_OTHER])
    index.add(scheduled(_ONE, 1000.0))
    index.wake()
    index.recall([_ONE, _OTHER])
    found = list(iter(lambda: index.pop(now=10.0), None))
    assert [(each.message, each.forced) for each in found] == [(_OTHER, True), (_ONE, True)]


def test_recall_does_not_look_at_the_messages_that_wait_already() -> None:
    index, waiting = Index(), _CountedId("1.4.1")
    index.recall([QueueId(waiting)])
    before = waiting.looks
    index.recall([_ONE])
    index.recall([_OTHER])
    assert waiting.looks == before
