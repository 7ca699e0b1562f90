"""The number of logins under way for each source, and the count of its failures."""

from emailrelay.client_source import source_of
from emailrelay.login_attempts import LoginAttempts


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


def test_failures_grow_up_to_a_bound_and_are_forgotten_over_time() -> None:
    clock = Clock()
    attempts = LoginAttempts(clock)
    assert [attempts.failed("a") for _ in range(3)] == [1, 2, 3]
    assert attempts.failed("b") == 1
    clock.now = 120.0
    assert attempts.failed("a") == 2
    assert max(attempts.failed("a") for _ in range(100)) == 30
    clock.now = 1e6
    assert attempts.failed("a") == 1


def test_what_is_remembered_is_bounded() -> None:
    attempts = LoginAttempts(Clock())
    for number in range(20_001):
        attempts.failed(f"source {number}")
    attempts.failed("source 0")
    assert attempts.failed("source 20000") == 2
    assert attempts.failed("source 1") == 1


def test_one_source_has_a_bound_and_one_name_of_it_a_smaller_one() -> None:
    attempts = LoginAttempts(Clock())
    of_name = [attempts.begin("a", "x") for _ in range(6)]
    assert [a is None for a in of_name] == [False] * 5 + [True]
    others = [attempts.begin("a", str(number)) for number in range(6)]
    assert [a is None for a in others] == [False] * 5 + [True]
    assert attempts.begin("b", "x") is not None
    assert of_name[0] is not None
    of_name[0].end()
    assert attempts.begin("a", "y") is not None


def test_a_name_that_has_logged_in_from_a_source_has_places_and_failures_of_its_own() -> None:
    attempts = LoginAttempts(Clock())
    attempts.succeeded("a", "ann")
    for number in range(10):
        attempts.begin("a", str(number))
        attempts.failed("a", str(number))
    assert attempts.begin("a", "bob") is None
    known = attempts.begin("a", "ann")
    assert known is not None
    assert known.known
    assert attempts.failed("a", "ann") == 1


def test_a_source_is_what_one_party_has_at_its_disposal() -> None:
    same = [
        ("127.0.0.1", "127.8.9.10"),
        ("::1", "127.0.0.1"),
        ("::ffff:127.0.0.2", "127.0.0.1"),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"),
        ("fe80::1%eth0", "fe80::2"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
    ]
    other = [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8:0:1::1"),
        ("/run/a", "/run/b"),
        ("/run/a", "127.0.0.1"),
    ]
    assert all(source_of(one) == source_of(another) for one, another in same)
    assert all(source_of(one) != source_of(another) for one, another in other)
