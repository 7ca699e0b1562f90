"""The same trouble is logged once a minute, whatever ids its text has."""

from collections.abc import Callable

import pytest

from emailrelay.events.event import Event
from emailrelay.events.filters import FilterTrouble
from emailrelay.events.log import LeftOut
from emailrelay.events.receiving import (
    LoginFailed,
    MoreTrouble,
    Rejected,
    SessionTrouble,
    VerifierTrouble,
)
from emailrelay.events.service import Stopping
from emailrelay.events.store import StoreTrouble
from emailrelay.log_throttle import LogThrottle
from emailrelay.queue_id import QueueId


class Log:
    """The reported events, at times that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[Event] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.report = LogThrottle(
            self.told.append,
            lambda: self.now,
            lambda seconds, act: self.timers.append((self.now + seconds, act)),
        )

    def wait(self, seconds: float) -> None:
        """Let time pass, and the timers that are due with it."""
        self.now += seconds
        due = [act for at, act in self.timers if at <= self.now]
        self.timers = [timer for timer in self.timers if timer[0] > self.now]
        for act in due:
            act()


def store(number: int, why: str = "No space left on device") -> StoreTrouble:
    return StoreTrouble(doing=f"settling 1764383.4711.{number}", reason=f"[Errno 28] {why}")


def test_trouble_is_told_once_a_minute_whatever_message_it_is_about() -> None:
    log = Log()
    for number in range(1000):
        log.report(store(number))
        log.report(
            FilterTrouble(id=QueueId(str(number)), filter="/f", reason=f"no copy of 1.2.{number}")
        )
    assert len(log.told) == 2
    log.now += 60.0
    log.report(store(7))
    assert log.told[2:] == [
        LeftOut(kind="store_trouble", reason="settling 1764383.4711.0: [Errno 28] "
                "No space left on device", lines=999),
        LeftOut(kind="filter_trouble", reason="/f: no copy of 1.2.0", lines=999),
        store(7),
    ]  # fmt: skip


def test_other_trouble_is_told_at_once_but_not_without_bound() -> None:
    log = Log()
    words = [chr(ord("a") + number // 26) + chr(ord("a") + number % 26) for number in range(500)]
    for word in words:
        log.report(store(1, word))
    log.report(VerifierTrouble(verifier="net:x", reason="refused"))
    assert len([e for e in log.told if isinstance(e, StoreTrouble)]) == 20
    assert isinstance(log.told[-1], VerifierTrouble)
    log.now += 60.0
    log.report(LoginFailed(user="x", mechanism="PLAIN", client="::1"))
    assert LeftOut(kind="store_trouble", reason="for various reasons", lines=480) in log.told


def test_what_was_left_out_is_told_at_the_end() -> None:
    log = Log()
    for number in range(3):
        log.report(store(number))
    log.report(Stopping(service="receiver"))
    assert [type(event) for event in log.told] == [StoreTrouble, LeftOut, Stopping]


@pytest.mark.parametrize(
    ("reply", "lines"),
    [
        ("452 4.3.1 no room", 1),
        ("451 4.3.0 not now", 1),
        ("451 4.4.3 cannot check", 1),
        ("450 4.2.0 mailbox busy", 5),
        ("550 5.1.1 unknown", 5),
        ("421 4.7.0 too many", 5),
    ],
)
def test_refusals_for_the_state_of_the_system_count_as_trouble(reply: str, lines: int) -> None:
    log = Log()
    for number in range(5):
        log.report(Rejected(command="DATA", reply=reply, client=f"192.0.2.{number}"))
    assert len(log.told) == lines


def test_what_clients_cause_has_twenty_lines_a_second_and_a_count_of_the_rest() -> None:
    log = Log()
    for number in range(30):
        log.report(Rejected(command="RCPT", reply="550 5.1.1 no", client=f"192.0.2.{number}"))
        log.report(SessionTrouble(client=f"192.0.2.{number}", reason="connection lost"))
    assert len(log.told) == 20
    log.wait(1.1)
    assert log.told[20:] == [MoreTrouble(refusals=20, sessions=20)]
    log.report(SessionTrouble(client="192.0.2.1", reason="connection lost"))
    assert isinstance(log.told[-1], SessionTrouble)
    log.wait(1.1)
    assert len(log.told) == 22


def test_logins_without_a_name_have_a_line_a_second_for_each_source_of_clients() -> None:
    log = Log()
    for number in range(10):
        for client in ("192.0.2.1", f"2001:db8::{number}"):
            log.report(LoginFailed(user="", mechanism="PLAIN", client=client))
            log.report(LoginFailed(user="bob", mechanism="PLAIN", client=client))
    failures = [event for event in log.told if isinstance(event, LoginFailed)]
    assert [event.client for event in failures if not event.user] == ["192.0.2.1", "2001:db8::0"]
    assert len([event for event in failures if event.user]) == 20
    log.wait(1.1)
    assert log.told[-2:] == [
        LeftOut(kind="login_failed", reason=f"without a name, from {source}", lines=9)
        for source in ("192.0.2.1", "2001:db8::/64")
    ]
    log.report(LoginFailed(user="", mechanism="PLAIN", client="192.0.2.1"))
    assert isinstance(log.told[-1], LoginFailed)


def test_the_count_comes_by_itself_when_the_period_is_over() -> None:
    log = Log()
    for number in range(3):
        log.report(store(number))
    log.wait(61.0)
    assert [type(event) for event in log.told] == [StoreTrouble, LeftOut]
