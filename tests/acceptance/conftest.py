"""A relay of real processes for each test, cleared away at its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.parent == here:
            item.add_marker(pytest.mark.acceptance)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(tmp_path)
    try:
        yield relay
    finally:
        relay.clear_away()
        relay.show()
    assert not relay.faults()
