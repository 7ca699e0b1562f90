"""The age of a moment, by clocks that are set and systems that start again."""

from dataclasses import replace

from tests.unit.oauth_values import START, at, token

from emailrelay.oauth.clocks import ClockReading, age
from emailrelay.oauth.token import is_good

# Time


def test_age_is_the_time_passed() -> None:
    assert age(START, at(100)) == 100


def test_clock_set_back_makes_nothing_younger() -> None:
    now = replace(at(1000), wall=START.wall - 86400)
    assert age(START, now) == 1000


def test_clock_set_forward_makes_everything_older() -> None:
    assert age(START, replace(at(10), wall=START.wall + 5000)) == 5000


def test_after_a_restart_the_wall_clock_counts() -> None:
    assert age(START, ClockReading(wall=START.wall + 60, uptime=3.0, boot="b")) == 60


def test_moment_in_the_future_of_an_earlier_boot_is_long_ago() -> None:
    later = ClockReading(wall=START.wall - 60, uptime=3.0, boot="b")
    assert age(START, later) == float("inf")
    assert not is_good(token(), later)


def test_system_that_does_not_name_its_boots_has_only_a_wall_clock() -> None:
    since = replace(START, boot="")
    assert age(since, ClockReading(wall=START.wall + 5, uptime=9_999.0, boot="")) == 5
