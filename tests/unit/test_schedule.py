"""Pauses grow, spread, and end; no change of the clock stops mail for ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.schedule import FARTHEST, Schedule, is_due

CHANCES = st.floats(0, 1, exclude_max=True)
SCHEDULES = st.builds(
    Schedule,
    first=st.floats(0.1, 1e5),
    factor=st.floats(1, 1e12),
    longest=st.floats(0.1, 1e7),
    spread=st.floats(0, 1),
)


@pytest.mark.parametrize(
    ("attempts", "pause"), [(1, 60), (2, 120), (3, 240), (6, 1920), (7, 3600), (10**9, 3600)]
)
def test_pause_doubles_up_to_the_longest(attempts: int, pause: float) -> None:
    assert Schedule().next_attempt(now=1000, attempts=attempts, chance=0) == 1000 + pause


@given(SCHEDULES, st.integers(1, 10**9), CHANCES)
def test_pause_is_never_longer_than_the_longest(
    schedule: Schedule, attempts: int, chance: float
) -> None:
    pause = schedule.next_attempt(now=0, attempts=attempts, chance=chance)
    assert 0 <= pause <= min(schedule.longest, FARTHEST)


@given(SCHEDULES, st.integers(1, 100))
def test_pause_never_shrinks(schedule: Schedule, attempts: int) -> None:
    pauses = [schedule.next_attempt(now=0, attempts=n, chance=0) for n in (attempts, attempts + 1)]
    assert pauses == sorted(pauses)


@given(CHANCES)
def test_chance_shortens_a_pause_by_up_to_the_spread(chance: float) -> None:
    assert 48 <= Schedule().next_attempt(now=0, attempts=1, chance=chance) <= 60


@given(SCHEDULES, st.integers(1, 100), CHANCES, st.floats(0, 1e10))
def test_time_given_is_kept_by_the_clock_that_gave_it(
    schedule: Schedule, attempts: int, chance: float, now: float
) -> None:
    when = schedule.next_attempt(now=now, attempts=attempts, chance=chance)
    if when > now:
        assert not is_due(when, now)
    assert is_due(when, when)


@pytest.mark.parametrize(
    ("when", "due"),
    [
        (None, True),
        (0.0, True),
        (1000.0, True),
        (1000.1, False),
        (1000.0 + FARTHEST, False),
        (1001.0 + FARTHEST, True),
        (float("inf"), True),
    ],
)
def test_message_is_due_at_its_time_or_when_that_makes_no_sense(
    when: float | None,
    due: bool,  # noqa: FBT001 - a table
) -> None:
    assert is_due(when, 1000.0) is due


@pytest.mark.parametrize(("age", "expired"), [(0, False), (431999, False), (432000, True)])
def test_message_expires_at_its_greatest_age(age: float, expired: bool) -> None:  # noqa: FBT001 - a table
    assert Schedule().expired(accepted_at=1000, now=1000 + age) is expired


def test_message_from_the_future_is_not_too_old() -> None:
    assert not Schedule().expired(accepted_at=2000, now=1000)
