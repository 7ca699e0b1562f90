"""How fast a server is sent mail that wants it more slowly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay_forwarder.server.send_rate import FORGIVEN, LONGEST_REST, REST, SLOWEST, SendRate


def test_without_a_refusal_there_is_no_limit() -> None:
    limit = SendRate()
    for _ in range(1000):
        assert limit.turn(0, patience=0) == 0
        limit.accepted(0)
    assert limit.rate is None


def test_first_refusal_halves_the_rate_that_was_measured() -> None:
    limit = SendRate()
    for tenth in range(100):
        limit.accepted(tenth / 10)
    assert limit.refused(10, began=9.9)
    assert limit.rate == pytest.approx(4.5, abs=0.6)


def test_refusals_of_what_began_before_a_cut_count_once() -> None:
    limit = SendRate()
    assert limit.refused(10, began=9)
    rate = limit.rate
    assert not limit.refused(10.1, began=9.5)
    assert not limit.used_up(10.1, began=9.5)
    assert limit.rate == rate
    assert limit.refused(11, began=10.5)
    assert limit.rate == rate / 2 if rate else False


def test_turns_come_one_after_another() -> None:
    limit = SendRate()
    limit.refused(0, began=0)
    assert limit.rate == 0.5
    assert [limit.turn(0, patience=9) for _ in range(3)] == [2, 4, 6]
    assert limit.turn(0, patience=7) is None
    assert limit.turn(8, patience=0) == 0


def test_messages_that_come_back_later_get_a_turn_each() -> None:
    limit = SendRate()
    limit.refused(100, began=100)
    assert [limit.later(100) for _ in range(3)] == [102, 104, 106]


def test_clock_that_is_set_back_takes_the_turns_with_it() -> None:
    limit = SendRate()
    limit.refused(10_000, began=10_000)
    assert limit.turn(10_000, patience=9) == 2
    assert limit.turn(6_400, patience=9) == 4
    assert limit.later(6_400) == 6_406


def test_accepted_messages_raise_the_rate_and_time_lifts_the_limit() -> None:
    limit = SendRate()
    limit.refused(0, began=0)
    for _ in range(10):
        limit.accepted(1)
    assert limit.rate == pytest.approx(1.0)
    assert limit.turn(FORGIVEN + 1, patience=0) == 0
    assert limit.rate is not None
    assert limit.turn(FORGIVEN + 3, patience=0) == 0
    assert limit.rate is None


def test_server_that_refuses_all_is_asked_once_a_minute() -> None:
    limit, now = SendRate(), 0.0
    pauses: list[float] = []
    for _ in range(9):
        limit.refused(now, began=now)
        again = limit.later(now)
        pauses.append(again - now)
        now = again
    assert pauses[:4] == [2, 4, 8, 16]
    assert pauses[-1] == pytest.approx(1 / SLOWEST)


def test_share_that_is_used_up_is_waited_for_long_and_by_one_message() -> None:
    limit, now = SendRate(), 0.0
    pauses: list[float] = []
    for _ in range(5):
        limit.used_up(now, began=now)
        pauses.append(limit.later(now) - now)
        now += pauses[-1]
        assert limit.turn(now, patience=0.5) == 0
        assert limit.turn(now, patience=0.5) is None
    assert pauses == [REST, 2 * REST, LONGEST_REST, LONGEST_REST, LONGEST_REST]


def test_rate_grows_quickly_to_what_it_was_after_a_rest() -> None:
    limit = SendRate()
    for _ in range(50):
        limit.accepted(0)
    limit.used_up(0.5, began=0.4)
    rates: list[float] = []
    for _ in range(50):
        limit.accepted(REST)
        rates.append(limit.rate or 0)
    assert rates[:3] == [2, 3, 4]
    assert rates[48] == 50
    assert rates[49] == pytest.approx(50.05)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100))))
def test_turns_never_lie_in_the_past_and_the_rate_never_vanishes(
    events: list[tuple[int, float]],
) -> None:
    limit, now = SendRate(), 0.0
    for event, seconds in events:
        now += seconds
        match event:
            case 0 | 1:
                limit.accepted(now)
            case 2:
                limit.refused(now, began=now)
            case 3:
                limit.used_up(now, began=now)
            case 4:
                assert limit.later(now) >= now
            case _:
                wait = limit.turn(now, patience=10)
                assert wait is None or 0 <= wait <= 10
        assert limit.rate is None or limit.rate >= SLOWEST
