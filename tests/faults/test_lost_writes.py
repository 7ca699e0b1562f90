"""A disk that fails to write a message back: its log has the message until the files have it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.relay import ROOT
from tests.contract.mail import claimed, content_of
from tests.faults.losing_disk import LosingDisk, reason_to_skip

from emailrelay.events.event import Event
from emailrelay.queue_id import QueueId
from emailrelay.store.chooser import open_store

CONTENT = b"Subject: x\r\n\r\n" + b"text\r\n" * 10_000
SERVICE = """
import asyncio, os, sys
from tests.contract.mail import put
from tests.faults.test_lost_writes import CONTENT, nothing
from emailrelay.spool_sync import SpoolSync
from emailrelay.store.chooser import open_store
from emailrelay.store.spool.durable import log
from emailrelay.store.spool.store import SpoolStore

async def main():
    log._OLD = 0.0
    async with open_store(sys.argv[1], report=nothing, sync=SpoolSync.LOG) as store:
        print("open", flush=True)
        sys.stdin.readline()
        print(await put(store, CONTENT), flush=True)
        end = sys.stdin.readline().strip()
        if end == "checkpoint":
            await asyncio.to_thread(store._spool.syncer.look)
        if end != "stopped":
            os._exit(9)

asyncio.run(main())
"""


def nothing(_event: Event) -> None:
    """Take reports."""


@pytest.fixture
def losing_disk(tmp_path: Path) -> Iterator[LosingDisk]:
    """Return a disk that can lose writes."""
    reason = reason_to_skip()
    if reason is not None:
        pytest.skip(reason)
    made = LosingDisk(tmp_path)
    try:
        yield made
    finally:
        made.remove()


def _accepted(disk: LosingDisk, end: str) -> QueueId:
    """Have a service accept a message whose files the disk loses; it ends in one of three ways."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SERVICE, str(disk.root / "spool")]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as service:
        assert service.stdin is not None
        assert service.stdout is not None
        assert service.stdout.readline() == "open\n"
        disk.begin_to_lose()
        service.stdin.write("\n")
        service.stdin.flush()
        message = service.stdout.readline().strip()
        assert message
        if end != "checkpoint":
            disk.write_back()
        service.communicate(f"{end}\n")
    return QueueId(message)


async def _content(spool: Path, message: QueueId | None = None) -> bytes:
    async with open_store(str(spool), report=nothing) as store:
        if message is None:
            return b""
        async with await claimed(store, message) as claim:
            return await content_of(claim)


@pytest.mark.parametrize("end", ["checkpoint", "killed", "stopped"])
def test_accepted_message_outlives_a_failed_write_back(losing_disk: LosingDisk, end: str) -> None:
    spool = losing_disk.root / "spool"
    message = _accepted(losing_disk, end)
    losing_disk.stop_losing()
    asyncio.run(_content(spool))  # all services were stopped, and start again
    assert not list((spool / ".wal").iterdir())
    losing_disk.forget_cached()
    assert asyncio.run(_content(spool, message)) == CONTENT
