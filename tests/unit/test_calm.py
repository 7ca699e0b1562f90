"""The same trouble is logged once a minute, with any ids in it."""

import pytest

from emailrelay.calm import Calm
from emailrelay.events import (
    Event,
    FilterTrouble,
    LeftOut,
    LoginFailed,
    Rejected,
    Stopping,
    StoreTrouble,
    VerifierTrouble,
)
from emailrelay.queue_id import QueueId


class Log:
    """What was told, at times that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.told: list[Event] = []
        self.report = Calm(self.told.append, lambda: self.now)


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
