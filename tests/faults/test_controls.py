"""Negative controls: the trials fail where the services have a fault, so that they can be believed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay
from tests.faults import disk, sabotage, tracing
from tests.faults.disk import Disk
from tests.faults.extent import extent
from tests.faults.report import Report
from tests.faults.trials import (
    Trial,
    cut_behind_the_250,
    cut_between_deliveries,
    kill_at_the_dot,
    short_writes,
)
from tests.faults.trio import Environment

TRIALS = [cut_behind_the_250, cut_between_deliveries, kill_at_the_dot, short_writes]


@dataclass(frozen=True)
class Control:
    """A fault, the trial that it must not pass, and the invariants that it breaks there."""

    fault: str
    trial: Trial
    breaks: frozenset[str]


EATMYDATA = ""
CONTROLS = {
    "eatmydata": Control(EATMYDATA, cut_behind_the_250, frozenset({"I1"})),
    "files not synced": Control(sabotage.FILES_NOT_SYNCED, cut_behind_the_250, frozenset({"I1"})),
    "directories not synced": Control(
        sabotage.DIRECTORIES_NOT_SYNCED, cut_between_deliveries, frozenset({"I3"})
    ),
    "commit before the content": Control(
        sabotage.COMMITTED_BEFORE_THE_CONTENT, cut_behind_the_250, frozenset({"I1"})
    ),
    "count of a write ignored": Control(
        sabotage.WRITES_NOT_COUNTED, short_writes, frozenset({"I1", "I2", "I6"})
    ),
    "next dot before the sync": Control(
        sabotage.NEXT_DOT_BEFORE_THE_SYNC, cut_between_deliveries, frozenset({"I3"})
    ),
    "soft lock": Control(sabotage.SOFT_LOCK, kill_at_the_dot, frozenset({"I6"})),
}
SOME = ["files not synced", "next dot before the sync"]
"""The faults of a short run."""


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    """Give a relay whose services may say that they are broken."""
    relay = Relay(tmp_path)
    try:
        yield relay
    finally:
        relay.clear_away()
        relay.show()


@pytest.fixture
def own(tmp_path: Path, relay: Relay) -> Iterator[Disk]:
    reason = disk.missing("ext4") or tracing.missing()
    if reason is not None:
        pytest.skip(reason)
    made = Disk(tmp_path, "ext4")
    try:
        yield made
    finally:
        relay.clear_away()
        made.unmount()


@pytest.mark.parametrize("trial", extent(TRIALS[1:2], TRIALS))
def test_healthy_services_pass_each_trial(trial: Trial, relay: Relay, own: Disk) -> None:
    assert trial(relay, own, None) == []


@pytest.mark.parametrize("name", extent(SOME, list(CONTROLS)))
def test_services_with_a_fault_fail_their_trial(
    name: str, relay: Relay, own: Disk, report: Report
) -> None:
    control = CONTROLS[name]
    environment: Environment = sabotage.eatmydata()
    if control.fault is not EATMYDATA:
        environment = sabotage.environment(control.fault, relay.directory / "fault")
    elif environment is None:
        pytest.skip("needs eatmydata")
    found = control.trial(relay, own, environment)
    first = found[0] if found else None
    report.figure(f"control {name}", f"{len(found)} violations, the first: {first}")
    assert found, f"{name} was not noticed"
    assert {violation.invariant for violation in found} & control.breaks
