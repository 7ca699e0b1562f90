"""A relay of real processes for each test, and enough time for long ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.conftest import relay
from tests.acceptance.relay import ROOT
from tests.faults.disk import Disk, missing
from tests.faults.extent import extent
from tests.faults.report import Report

__all__ = ["relay"]


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    return Report(ROOT / "build" / "faults.txt", request.node.name)


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """Give a disk whose power can be cut; its users have ended with the test."""
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    made = Disk(tmp_path, request.param)
    try:
        yield made
    finally:
        made.unmount()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(extent(300, 3600)))
