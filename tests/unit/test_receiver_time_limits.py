"""How long a client may be silent, and how long its session and its contents may last."""

import pytest

from emailrelay_receiver.connection.phase import Phase
from emailrelay_receiver.connection.time_limits import (
    LASTED,
    SILENT,
    SessionTimeouts,
    TimeLimits,
)

TIMEOUTS = SessionTimeouts(idle=60, first_mail=10, session=300)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("sends", "seconds"), [(False, 10), (True, 60)])
def test_a_client_that_sends_mail_can_be_silent_for_longer(*, sends: bool, seconds: int) -> None:
    limits = TimeLimits(TIMEOUTS, Clock(), lambda: sends)
    limits.phase = Phase.LISTENING
    assert limits.due(0.0) == (1000 + seconds, SILENT)


def test_content_that_arrives_is_no_silence_but_has_an_end() -> None:
    clock = Clock()
    limits = TimeLimits(TIMEOUTS, clock, lambda: True)
    limits.begin_content()
    limits.phase = Phase.RECEIVING
    clock.now = 1200.0
    assert limits.due(1199.0) == (1199 + 60, SILENT)
    assert limits.due(1290.0) == (1300, LASTED)


def test_commands_do_not_prolong_a_session() -> None:
    clock = Clock()
    limits = TimeLimits(TIMEOUTS, clock, lambda: True)
    clock.now = 1290.0
    limits.progress()
    limits.phase = Phase.LISTENING
    assert limits.due(0.0) == (1300, LASTED)
    assert not limits.lasts_too_long
    clock.now = 1301.0
    assert limits.lasts_too_long


@pytest.mark.parametrize(
    "phase", [each for each in Phase if each not in {Phase.LISTENING, Phase.RECEIVING}]
)
def test_our_own_work_is_never_the_clients_silence(phase: Phase) -> None:
    clock = Clock()
    limits = TimeLimits(TIMEOUTS, clock, lambda: True)
    clock.now = 9000.0
    limits.phase = phase
    assert limits.due(0.0)[0] > clock.now
