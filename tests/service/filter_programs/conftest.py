"""The runner of the tests of filter programs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.filter_programs.program_desk import DEADLINE, Desk

from emailrelay.filters.program import ProgramLimits, Programs


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    async with Programs(ProgramLimits(timeout=DEADLINE, grace=1.0)) as running:
        yield running


@pytest.fixture
async def hasty() -> AsyncIterator[Programs]:
    """Programs that are given half a second."""
    async with Programs(ProgramLimits(timeout=0.5, grace=0.2)) as running:
        yield running
