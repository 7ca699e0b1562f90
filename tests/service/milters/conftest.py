"""The milter of the tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.milters.milter_desk import Desk

from emailrelay.filters.program import ProgramLimits, Programs


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Programs(ProgramLimits(timeout=5.0)) as programs:
        yield Desk(tmp_path, programs)
