"""The monitor's rules: which service works, which does its job, and the gauges."""

from dataclasses import replace

import pytest

from emailrelay.process_state import AccountState, ProcessState
from emailrelay.service_health import Found, does_its_job, report, works
from emailrelay.service_status import ProcessStatus, ServiceStatus
from emailrelay.stage import Stage
from emailrelay.store.queue_view import StageCount
from emailrelay_monitor.measured import measured, store_health
from emailrelay_monitor.queue_counts import QueueCount

NOW = 1000.0
WELL = ServiceStatus(
    service="forwarder",
    pid=1,
    written=NOW - 5,
    limit=30.0,
    wanted=1,
    ready=True,
    processes=(ProcessStatus(pid=7, age=0.1, state=ProcessState(doing="delivering", waiting=3)),),
)


def with_states(*states: ProcessState) -> ServiceStatus:
    processes = tuple(ProcessStatus(pid=7, age=0.1, state=state) for state in states)
    return replace(WELL, processes=processes, wanted=len(states))


@pytest.mark.parametrize(
    ("found", "alive", "ready", "reason"),
    [
        (WELL, True, True, "delivering, 3 waiting"),
        ("does not run", False, False, "does not run"),
        (replace(WELL, written=NOW - 31), False, False, "no sign of life for 31 s"),
        (replace(WELL, written=NOW + 900), False, False, "since this host started"),
        (replace(WELL, processes=()), False, False, "none of its processes works"),
        (
            replace(WELL, processes=(replace(WELL.processes[0], age=44.0),)),
            False,
            False,
            "process 7 has done nothing for 44 s",
        ),
        (replace(WELL, wanted=2), True, True, "1 of 2 processes start again"),
        (replace(WELL, ready=False), True, False, "starts or stops"),
        (with_states(ProcessState(), ProcessState(trouble="cut off")), True, False, "cut off"),
    ],
)
def test_a_service_is_judged_by_its_status(
    found: Found, *, alive: bool, ready: bool, reason: str
) -> None:
    assert works(found, NOW).well is alive
    judged = does_its_job(found, NOW)
    assert judged.well is ready
    assert reason in judged.reason


def test_one_bad_service_makes_the_host_bad_and_each_has_its_reason() -> None:
    services: dict[str, Found] = {"receiver": "gone", "forwarder": WELL}
    well, told = report(services, works, NOW, {})
    assert not well
    assert told == {
        "ok": False,
        "services": {
            "receiver": {"ok": False, "reason": "gone"},
            "forwarder": {"ok": True, "reason": "delivering, 3 waiting"},
        },
    }


def gauges(found: Found, queue: QueueCount) -> dict[str, dict[tuple[str, ...], float]]:
    every = measured({"forwarder": found}, queue, version="1", now=NOW, clock=5000.0)
    return {gauge.rule.name: dict(gauge.values) for gauge in every}


def test_gauges_join_what_all_processes_say() -> None:
    first = ProcessState(
        sessions=2,
        routes={"isp": "", "home": ""},
        accounts={"office": AccountState(until=5600.0, trouble="refused")},
    )
    second = ProcessState(
        sessions=3,
        routes={"isp": "connection refused"},
        accounts={"office": AccountState(until=5500.0)},
    )
    found = gauges(with_states(first, second), QueueCount(at=NOW))
    assert found["emailrelay_sessions"] == {("forwarder",): 5}
    assert found["emailrelay_route_up"] == {("isp",): 0, ("home",): 1}
    assert found["emailrelay_token_expiry_seconds"] == {("office",): 600}
    assert found["emailrelay_sign_in_up"] == {("office",): 0}
    assert found["emailrelay_processes"] == {("forwarder",): 2}


def test_a_silent_service_has_no_sessions_and_no_routes() -> None:
    silent = replace(with_states(ProcessState(sessions=2, routes={"isp": ""})), written=0.0)
    found = gauges(silent, QueueCount(at=NOW))
    assert found["emailrelay_service_up"] == {("forwarder",): 0}
    assert found["emailrelay_sessions"] == {}
    assert found["emailrelay_route_up"] == {}


def test_the_queue_has_a_number_and_an_age_for_each_state() -> None:
    counts = (
        StageCount(Stage.READY, later=False, messages=10, octets=0, oldest=4500.0),
        StageCount(Stage.READY, later=True, messages=2, octets=0, oldest=4000.0),
        StageCount(Stage.HELD, later=False, messages=2, octets=0, oldest=6000.0),  # a wrong clock
    )
    found = gauges(WELL, QueueCount(at=NOW - 4, counts=counts, free=77))
    none = {("unfiltered",): 0, ("failed",): 0}
    assert found["emailrelay_queue_messages"] == {("ready",): 12, ("held",): 2, **none}
    assert found["emailrelay_queue_oldest_seconds"] == {("ready",): 1000, ("held",): 0, **none}
    assert found["emailrelay_queue_count_age_seconds"] == {(): 4}
    assert found["emailrelay_store_free_bytes"] == {(): 77}
    assert found["emailrelay_store_up"] == {(): 1}


@pytest.mark.parametrize(("number", "words"), [(1, "1 message"), (2, "2 messages")])
def test_the_number_of_messages_is_good_english(number: int, words: str) -> None:
    one = StageCount(Stage.READY, later=False, messages=number, octets=0, oldest=4500.0)
    assert store_health(QueueCount(at=NOW, counts=(one,))).reason == words


def test_a_store_that_cannot_be_read_has_no_numbers() -> None:
    found = gauges(WELL, QueueCount(at=NOW, trouble="no such directory"))
    assert found["emailrelay_store_up"] == {(): 0}
    assert "emailrelay_queue_messages" not in found
