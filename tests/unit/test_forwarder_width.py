"""How many connections a server gets."""

from hypothesis import given
from hypothesis import strategies as st

from emailrelay_forwarder.server.width import SLOW, START, TRUST, Width


def answered(width: Width, times: int, *, seconds: float = 0.5, waiting: bool = True) -> int:
    for _ in range(times):
        width.answered(seconds, waiting=waiting)
    return width.now


def test_slow_server_that_mail_waits_for_gets_more_up_to_the_limit() -> None:
    assert answered(Width(50), 0) == START
    assert answered(Width(50), 5) == START + 5
    assert answered(Width(50), 1000) == 50


def test_quick_server_gets_no_more_than_at_first() -> None:
    assert answered(Width(50), 1000, seconds=SLOW / 2) == START


def test_server_that_nothing_waits_for_gets_no_more_than_at_first() -> None:
    assert answered(Width(50), 1000, waiting=False) == START


def test_configured_limit_below_the_start_holds() -> None:
    assert answered(Width(3), 1000) == 3


def test_server_that_refuses_further_ones_gets_one_more_after_a_while() -> None:
    width = Width(50)
    width.refused(4)
    assert answered(width, TRUST - 1) == 4
    assert answered(width, 1) == 5
    assert answered(width, TRUST * 100) == 50


def test_server_that_wants_less_gets_fewer_but_never_none() -> None:
    width = Width(50)
    width.restrained()
    assert width.now == START - 1
    for _ in range(100):
        width.restrained()
    assert width.now == 1


@given(st.integers(1, 60), st.lists(st.integers(0, 3)))
def test_number_is_always_between_one_and_the_limit(most: int, events: list[int]) -> None:
    width = Width(most)
    for event in events:
        match event:
            case 0:
                width.restrained()
            case 1:
                width.refused(max(1, width.now - 1))
            case _:
                answered(width, 150)
        assert 1 <= width.now <= most
