"""The worker of the tests of filterd."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.service.filterd.filter_bench import Bench

from emailrelay.events.event import Event
from emailrelay.store.chooser import open_store


@pytest.fixture(params=["memory", "spool"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    events: list[Event] = []
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    where = "memory:" if request.param == "memory" else tmp_path / "spool"
    async with open_store(where, report=events.append) as store:
        yield Bench(store, scripts, events)
