"""A notice of failure that was sent is not sent again after a power cut."""

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.acceptance.relay import ROOT
from tests.faults.disk import Disk

from emailrelay.events.event import Event
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store

SERVICES = """
import asyncio, subprocess, sys
from tests.contract.mail import claimed
from tests.contract.test_failures import failed, failure_of, text
from emailrelay.settlement import Done
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.chooser import open_store

async def main():
    async with open_store(sys.argv[1], report=lambda _: None, sync=SpoolSync.LOG) as store:
        message = await failed(store)
        subprocess.run(["sync", "--file-system", sys.argv[1]], check=True)
        async with await failure_of(store, message) as failure:
            prepared = await failure.prepare(text, local=False)
            await failure.relay()
        async with await claimed(store, prepared.id) as claim:
            await claim.settle(Done())
        print(message, flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


def nothing(_event: Event) -> None:
    """Take reports."""


async def _stages(spool: Path) -> dict[QueueId, Stage]:
    async with open_store(str(spool), report=nothing) as store:
        return {listed.id: listed.stage async for listed in store.listing()}


def test_notice_that_was_sent_does_not_come_back_after_a_power_cut(disk: Disk) -> None:
    spool, pipe = disk.root / "spool", subprocess.PIPE
    command = [sys.executable, "-c", SERVICES, str(spool)]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as services:
        assert services.stdout is not None
        message = services.stdout.readline().strip()
        assert message
        disk.cut()
        services.kill()
    disk.unmount()
    disk.mount()
    assert asyncio.run(_stages(spool)) == {QueueId(message): Stage.FAILED}
