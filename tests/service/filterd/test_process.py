"""The process filterd, killed and terminated."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from tests.forked import ForkedProcess, start_forked
from tests.service.filterd.filter_bench import CONTENT, Bench, alive, eventually

from emailrelay.events.event import Event
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store


async def test_killed_filterd_takes_its_filter_along_and_the_next_one_filters_again(
    tmp_path: Path,
) -> None:
    spool, pid = tmp_path / "spool", tmp_path / "pid"
    script = tmp_path / "filter"
    script.write_text(
        f'#!/bin/sh\n[ -e {pid} ] && exit 0\necho spoilt > "$1"\n'
        f"sh -c 'echo $$ > {pid}.new; mv {pid}.new {pid}; sleep 60'; exit 0\n"
    )
    script.chmod(0o755)
    events: list[Event] = []
    async with open_store(spool, report=events.append) as store:
        bench = Bench(store, tmp_path, events)
        message = await bench.put()
        first = await start(spool, script)
        await eventually(pid.exists)
        first.send_signal(signal.SIGKILL)
        await first.wait()
        await eventually(lambda: not alive(int(pid.read_text())))
        second = await start(spool, script)
        await bench.moved_to(message, Stage.READY)
        second.terminate()
        async with asyncio.timeout(60):
            assert await second.wait() == 0
        assert await bench.content(message, Stage.READY) == CONTENT


async def start(spool: Path, script: Path | str, *more: str) -> ForkedProcess:
    return await start_forked(
        *("emailrelay-filterd", "--spool-dir", str(spool), "--filter", str(script), *more),
        environment={"PATH": os.environ["PATH"]},
    )


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_terminated_filterd_exits_0_in_time_and_loses_nothing(
    tmp_path: Path, workers: str
) -> None:
    spool, pid = tmp_path / "spool", tmp_path / "pid"
    script = tmp_path / "filter"
    script.write_text(f"#!/bin/sh\necho $$ > {pid}.new; mv {pid}.new {pid}; sleep 60\n")
    script.chmod(0o755)
    events: list[Event] = []
    async with open_store(spool, report=events.append) as store:
        bench = Bench(store, tmp_path, events)
        message = await bench.put()
        filterd = await start(spool, script, "--workers", workers)
        await eventually(pid.exists)
        filterd.terminate()
        async with asyncio.timeout(60):
            assert await filterd.wait() == 0
        assert not alive(int(pid.read_text()))
        assert await bench.content(message, Stage.UNFILTERED) == CONTENT
