"""Events: facts that are compared by value, and do not change."""

from typing import Any

import pytest

from emailrelay.events.event import Event, Level
from emailrelay.events.service import Started, Stopped, Stopping, WorkerDied


def test_events_are_equal_when_kind_and_fields_are() -> None:
    one = Stopped(service="receiver", unfinished=2)
    assert one == Stopped(unfinished=2, service="receiver")
    assert hash(one) == hash(Stopped(service="receiver", unfinished=2))
    assert one != Stopped(service="receiver")
    assert Stopping(service="receiver") != Stopped(service="receiver")


def test_a_default_is_said_unless_something_else_is() -> None:
    assert Stopped(service="filterd").unfinished == 0
    assert repr(Stopped(service="filterd")) == "Stopped(service='filterd', unfinished=0)"
    assert Started.fields == ("service", "version", "workers")


def test_the_level_belongs_to_the_kind() -> None:
    assert Event.level is Started.level is Level.INFO
    assert WorkerDied.level is Level.ERROR
    assert "level" not in WorkerDied.fields


@pytest.mark.parametrize("said", [{}, {"service": "x", "unfinishd": 1}, {"unfinished": 1}])
def test_what_is_missing_or_unknown_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Stopped (needs service|has no unfinishd)"):
        Stopped(**said)


def test_a_fact_does_not_change() -> None:
    event: Any = Stopping(service="receiver")
    with pytest.raises(AttributeError):
        event.service = "filterd"
    assert event.service == "receiver"


def test_a_fact_is_told_in_words() -> None:
    assert str(Stopped(service="filterd")) == "stopped: service filterd, unfinished 0"
