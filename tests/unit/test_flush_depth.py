"""The number of flushes that may be under way, by the times that the disk has taken."""

import pytest

from emailrelay.store.spool.durable.flush_depth import FlushDepth


def measured(most: int, *seconds: float) -> FlushDepth:
    """Return a rule that has seen a flush beside none, one, two … others take so long."""
    depth = FlushDepth(most)
    for others, each in enumerate(seconds):
        depth.took(others, each)
    return depth


def test_first_flush_never_waits() -> None:
    assert measured(1, 1.0).allows(0)


def test_there_are_no_more_flushes_than_threads() -> None:
    assert FlushDepth(2).allows(1)
    assert not FlushDepth(2).allows(2)


def test_depth_that_was_never_measured_is_tried() -> None:
    assert measured(4, 1.0).allows(1)
    assert measured(4, 1.0, 1.2).allows(2)


@pytest.mark.parametrize(
    ("beside", "pays"),
    [(1.0, True), (1.5, True), (1.79, True), (1.81, False), (2.0, False), (5.0, False)],
)
def test_flush_beside_another_pays_if_it_ends_before_one_that_waits(
    beside: float, *, pays: bool
) -> None:
    assert measured(4, 1.0, beside).allows(1) is pays


@pytest.mark.parametrize(("third", "pays"), [(1.8, True), (2.2, False)])
def test_third_flush_is_compared_with_the_second(third: float, *, pays: bool) -> None:
    assert measured(4, 1.0, 1.5, third).allows(2) is pays


def test_disk_that_becomes_slower_side_by_side_ends_the_overlap() -> None:
    depth = measured(4, 1.0, 1.1)
    assert depth.allows(1)
    for _ in range(20):
        depth.took(1, 3.0)
    assert not depth.allows(1)


def test_depth_that_did_not_pay_is_tried_again_from_time_to_time() -> None:
    depth = measured(4, 1.0, 3.0)
    asked = [depth.allows(1) for _ in range(100)]
    assert asked == [False] * 99 + [True]
    depth.took(1, 1.2)
    assert depth.allows(1)
