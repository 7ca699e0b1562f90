"""When a supervisor starts a child process again, and when it gives a start up."""

import pytest

from emailrelay.service.restart_rule import RestartRule, StartPatience, has_done_its_work


@pytest.mark.parametrize(
    ("status", "done"), [(0, True), (1, True), (78, True), (70, False), (-9, False), (-15, False)]
)
def test_a_worker_that_ends_by_itself_has_done_its_work(status: int, *, done: bool) -> None:
    assert has_done_its_work(status) is done


def test_the_pause_doubles_with_each_early_death_up_to_half_a_minute() -> None:
    rule, now, pauses = RestartRule(), 1000.0, list[float]()
    for _ in range(20):
        rule.start(now)
        now += 1.0
        pauses.append(rule.pause_after_death(now))
    assert pauses[:5] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == 30.0
    assert pauses == sorted(pauses)


def test_a_process_that_ran_for_ten_seconds_is_started_again_at_once() -> None:
    rule = RestartRule()
    for now in (0.0, 1.0):
        rule.start(now)
        rule.pause_after_death(now)
    rule.start(2.0)
    assert rule.pause_after_death(12.0) == 0.1


def test_a_start_is_given_up_when_nothing_moves() -> None:
    patience = StartPatience(0.0, without_progress=30.0, in_all=600.0)
    assert not patience.is_over({"receiver": 1}, 1.0)
    assert not patience.is_over({"receiver": 1}, 30.0)
    assert patience.is_over({"receiver": 1}, 31.0)


def test_a_start_that_moves_is_waited_for_but_not_for_ever() -> None:
    patience = StartPatience(0.0, without_progress=30.0, in_all=600.0)
    assert not any(patience.is_over({"receiver": n}, n * 29.0) for n in range(20))
    assert patience.is_over({"receiver": 99}, 600.0)
