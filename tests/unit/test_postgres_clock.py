"""Times of this host as delays for the database."""

import pytest

from emailrelay.schedule import FARTHEST
from emailrelay.store.postgres.link.clock import DatabaseClock


@pytest.mark.parametrize(
    ("due", "delay"),
    [(90.0, 0.0), (100.0, 0.0), (160.0, 60.0), (100.0 + FARTHEST, FARTHEST)],
)
def test_delay_lasts_until_the_time(due: float, delay: float) -> None:
    assert DatabaseClock(lambda: 100.0).delay(due) == delay


@pytest.mark.parametrize("due", [101.0 + FARTHEST, 9e10, 1e300])
def test_time_that_no_schedule_gives_is_due_now(due: float) -> None:
    assert DatabaseClock(lambda: 100.0).delay(due) == 0.0
