"""A relay of real processes for each test, and time enough for those that do much."""

from pathlib import Path

import pytest
from tests.acceptance.conftest import relay
from tests.acceptance.relay import ROOT
from tests.faults.extent import extent
from tests.faults.report import Report

__all__ = ["relay"]


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    return Report(ROOT / "build" / "faults.txt", request.node.name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(extent(300, 3600)))
