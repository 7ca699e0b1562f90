"""Pauses for servers: rules with a clock that the test sets."""

from emailrelay.config import ForwarderSettings, load
from emailrelay_forwarder.session.greeting_timeout import MOST_SERVERS, GreetingTimeout
from emailrelay_forwarder.session.stall import Stall
from emailrelay_forwarder.settings.policy_settings import patience_of


def settings(*argv: str) -> ForwarderSettings:
    return load(ForwarderSettings, ["--spool-dir=/nowhere", "--forward-to=there.test:25", *argv])


def end_of(stall: Stall, unsent: list[tuple[float, int]]) -> float:
    """Look whenever the wait wants to; from each of these times on so many octets are on their way."""
    while True:
        now = stall.look_at
        left = [octets for since, octets in unsent if since <= now]
        if stall.over(now, left.pop):
            return now


def test_limit_runs_once_from_the_last_octet_taken() -> None:
    assert end_of(Stall(600, 0, sending=True), [(0, 0)]) == 600
    assert end_of(Stall(6, 100, sending=True), [(0, 0)]) == 106


def test_octets_that_are_taken_soon_do_not_prolong_the_limit() -> None:
    # As at each final dot: on their way at first, taken within moments.
    assert 600 <= end_of(Stall(600, 0, sending=True), [(0, 20), (0.04, 0)]) <= 601
    assert 6 <= end_of(Stall(6, 0, sending=True), [(0, 20), (0.04, 0)]) <= 6.06


def test_limit_begins_anew_while_octets_are_taken() -> None:
    taken = [(float(second), 1000 - second) for second in range(1000)]
    assert 1000 + 6 <= end_of(Stall(6, 0, sending=True), [*taken, (1000, 0)]) <= 1000 + 6.1


def test_octets_that_the_server_does_not_take_are_no_progress() -> None:
    assert end_of(Stall(6, 0, sending=True), [(0, 5000)]) == 6
    # More of them, since our own addition counts as none.
    assert end_of(Stall(6, 0, sending=True), [(0, 5000), (3, 6000)]) == 6


def test_nothing_prolongs_a_wait_at_which_nothing_is_sent() -> None:
    assert end_of(Stall(300, 0, sending=False), [(0, 5000), (200, 0)]) == 300


def test_silent_server_is_waited_for_longer_each_time() -> None:
    timeout = GreetingTimeout(20, 300)
    limits: list[float] = []
    for _ in range(6):
        limits.append(timeout.of("slow"))
        timeout.silent("slow")
    assert limits == [20, 40, 80, 160, 300, 300]
    assert timeout.of("other") == 20


def test_time_that_a_server_needed_is_given_again_with_room() -> None:
    timeout = GreetingTimeout(20, 300)
    timeout.silent("slow")
    timeout.greeted("slow", 25)
    assert timeout.of("slow") == 50
    timeout.greeted("slow", 0.1)
    assert timeout.of("slow") == 20


def test_only_so_many_slow_servers_are_remembered() -> None:
    timeout = GreetingTimeout(20, 300)
    for number in range(MOST_SERVERS + 1):
        timeout.silent(str(number))
    assert timeout.of("0") == 20
    assert timeout.of("1") == 40


def test_given_prompt_timeout_rules() -> None:
    timeout = patience_of(settings("--prompt-timeout=7"))
    timeout.silent("slow")
    timeout.greeted("slow", 6)
    assert timeout.of("slow") == 7


def test_prompt_timeout_grows_to_that_of_the_standard_and_begins_there_in_a_single_pass() -> None:
    timeout = patience_of(settings())
    assert timeout.of("slow") == 20
    for _ in range(9):
        timeout.silent("slow")
    assert timeout.of("slow") == 300
    assert patience_of(settings("--once")).of("slow") == 300
