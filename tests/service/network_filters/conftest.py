"""The server of the tests of network filters."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.network_filters.filter_server import DEADLINE, Desk

from emailrelay.filters.program import ProgramLimits, Programs


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=DEADLINE)) as programs:
        yield Desk(tmp_path, programs)
