"""A relay of real processes for each test, and enough time for long ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.conftest import relay
from tests.acceptance.relay import ROOT
from tests.faults.disk import Disk, missing
from tests.faults.extent import ALL, extent
from tests.faults.report import Report

__all__ = ["relay"]


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    return Report(ROOT / "build" / "faults.txt", request.node.name)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Return a disk whose power can be cut; its users have ended with the test."""
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    made = Disk(tmp_path, request.param)
    try:
        yield made
    finally:
        made.unmount()


_ON_REQUEST = {
    f"test_{name}"
    for name in (
        *("bad_filters", "bounces_killed", "clock", "controls", "crowds", "database_away"),
        *("database_cuts", "database_full", "database_input", "database_leases"),
        *("database_standby", "database_statements", "endless", "failing_calls", "large_spool"),
        *("poison", "soak", "store_cuts"),
    )
}
"""Modules that take a minute each, and that few changes can break."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.path.stem in _ON_REQUEST and not ALL:
            item.add_marker(pytest.mark.skip("takes minutes: make faults FAULTS=short"))
        if item.path.parent == here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(extent(300, 3600)))
