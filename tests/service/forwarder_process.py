"""A forwarder as a process, and the mail in its spool."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.forked import ForkedProcess, start_forked

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store

HANG = 30.0


class Running:
    """The process of a service, and its events."""

    def __init__(self, process: ForkedProcess) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []

    async def until(self, *events: str) -> dict[str, Any]:
        """Wait for the next event with one of these names."""
        async with asyncio.timeout(HANG):
            async for line in self.process.stdout:
                self.told.append(json.loads(line))
                if self.told[-1]["event"] in events:
                    return self.told[-1]
        raise AssertionError(f"ended without {events}: {self.told}")

    async def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.end()

    async def end(self) -> int:
        async with asyncio.timeout(HANG):
            async for line in self.process.stdout:
                self.told.append(json.loads(line))
            return await self.process.wait()

    def names(self) -> list[str]:
        return [event["event"] for event in self.told]


@asynccontextmanager
async def forwarder(spool: Path, address: str, *options: str) -> AsyncGenerator[Running]:
    """Run one; an empty address is none."""
    where = ("--spool-dir", str(spool), *(("--forward-to", address) if address else ()))
    process = await start_forked("emailrelay-forwarder", "--log-format=json", *where, *options)
    try:
        yield Running(process)
    finally:
        process.kill()
        await process.communicate()


async def put(
    store: Store,
    *recipients: str,
    size: int = 1000,
    stage: Stage = Stage.READY,
) -> QueueId:
    to = tuple(Address(r) for r in recipients or ("to@there.test",))
    line = b"x" * 98 + b"\r\n"
    async with store.draft(Envelope(sender=Address("from@us.test"), to_remote=to)) as draft:
        while size > 0:
            draft.write((line * (CHUNK // len(line)))[:size])
            size -= CHUNK // len(line) * len(line)
        await draft.commit(stage)
    return draft.id


async def history(store: Store, message: QueueId) -> History | None:
    found = await store.describe(message)
    return found[2] if found else None


async def ids(store: Store, *stages: Stage) -> Sequence[QueueId]:
    return [entry.id async for entry in store.listing(stages or tuple(Stage))]
