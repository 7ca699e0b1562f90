"""How many connections a server gets."""

from hypothesis import given
from hypothesis import strategies as st

from emailrelay_forwarder.server.connection_limit import SLOW, START, TRUST, ConnectionLimit


def answered(
    limit: ConnectionLimit, times: int, *, seconds: float = 0.5, waiting: bool = True
) -> int:
    for _ in range(times):
        limit.answered(seconds, waiting=waiting)
    return limit.now


def test_slow_server_that_mail_waits_for_gets_more_up_to_the_limit() -> None:
    assert answered(ConnectionLimit(50), 0) == START
    assert answered(ConnectionLimit(50), 5) == START + 5
    assert answered(ConnectionLimit(50), 1000) == 50


def test_quick_server_gets_no_more_than_at_first() -> None:
    assert answered(ConnectionLimit(50), 1000, seconds=SLOW / 2) == START


def test_server_that_nothing_waits_for_gets_no_more_than_at_first() -> None:
    assert answered(ConnectionLimit(50), 1000, waiting=False) == START


def test_configured_limit_below_the_start_holds() -> None:
    assert answered(ConnectionLimit(3), 1000) == 3


def test_server_that_refuses_further_ones_gets_one_more_after_a_while() -> None:
    limit = ConnectionLimit(50)
    limit.refused(4)
    assert answered(limit, TRUST - 1) == 4
    assert answered(limit, 1) == 5
    assert answered(limit, TRUST * 100) == 50


def test_server_that_wants_less_gets_fewer_but_never_none() -> None:
    limit = ConnectionLimit(50)
    limit.restrained()
    assert limit.now == START - 1
    for _ in range(100):
        limit.restrained()
    assert limit.now == 1


@given(st.integers(1, 60), st.lists(st.integers(0, 3)))
def test_number_is_always_between_one_and_the_limit(most: int, events: list[int]) -> None:
    limit = ConnectionLimit(most)
    for event in events:
        match event:
            case 0:
                limit.restrained()
            case 1:
                limit.refused(max(1, limit.now - 1))
            case _:
                answered(limit, 150)
        assert 1 <= limit.now <= most
