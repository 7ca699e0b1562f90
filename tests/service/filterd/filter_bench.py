"""A store, filterd's worker over it, and small scripts as filters."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.filters.chain import Chain
from emailrelay.filters.program import ProgramLimits, Programs
from emailrelay.filters.spec import parse_chain
from emailrelay.filters.verdict import Side
from emailrelay.log_throttle import LogThrottle
from emailrelay.queue_id import QueueId
from emailrelay.schedule import Schedule
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay_filterd.worker import FilterWorker

ENVELOPE = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
CONTENT = b"Subject: hello\r\n\r\nworld\r\n"
DEADLINE = 15.0


@dataclass
class Bench:
    """A store, scripts, and the reported events."""

    store: Store
    folder: Path
    events: list[Event]
    schedule: Schedule = field(default_factory=lambda: Schedule(spread=0.0))
    timeout: float = DEADLINE
    drain: float = 0.3
    """The seconds that running chains have at the stop."""
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def report(self, event: Event) -> None:
        self.events.append(event)
        self.told.set()

    def script(self, body: str) -> str:
        path = self.folder / f"filter{len(list(self.folder.iterdir()))}"
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
        return str(path)

    async def put(self, content: bytes = CONTENT, envelope: Envelope = ENVELOPE) -> QueueId:
        async with self.store.draft(envelope) as draft:
            draft.write(content)
            await draft.commit(Stage.UNFILTERED)
        return draft.id

    @asynccontextmanager
    async def filterd(self, *specs: str, jobs: int = 4) -> AsyncGenerator[asyncio.Event]:
        """Run a worker, and stop it at the end; gives the event that stops it."""
        stop = asyncio.Event()
        async with (
            Programs(ProgramLimits(timeout=self.timeout, grace=0.2)) as programs,
            self.store.feed(Stage.UNFILTERED) as feed,
        ):
            worker = FilterWorker(
                feed=feed,
                chain=Chain(filters=parse_chain(specs), side=Side.SERVER, programs=programs),
                schedule=self.schedule,
                report=LogThrottle(self.report, time.monotonic, lambda _seconds, _act: None),
                jobs=jobs,
                drain=self.drain,
            )
            running = asyncio.create_task(worker.run(stop))
            try:
                yield stop
            finally:
                stop.set()
                async with asyncio.timeout(DEADLINE):
                    await running

    async def after(self, kind: type[Event], count: int = 1) -> list[Event]:
        """Wait until this many events of a kind were reported."""
        async with asyncio.timeout(DEADLINE):
            while len(found := [e for e in self.events if isinstance(e, kind)]) < count:
                self.told.clear()
                await self.told.wait()
        return found

    async def stage(self, message: QueueId) -> Stage | None:
        found = await self.store.describe(message)
        return found[0] if found else None

    async def content(self, message: QueueId, stage: Stage) -> bytes:
        async with asyncio.timeout(DEADLINE):
            # The worker lets go of a message just after it has its new stage.
            while (claim := await self.store.claim(stage, message, due_only=False)) is None:  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.01)
        async with claim:
            return b"".join([chunk async for chunk in claim.content()])

    async def tried(self, message: QueueId) -> None:
        """Wait until the chain has been run on a message and its settlement recorded."""
        async with asyncio.timeout(DEADLINE):
            while not await self._attempts(message):  # noqa: ASYNC110 - trouble is told once only
                await asyncio.sleep(0.01)

    async def tried_or_passed(self, message: QueueId) -> None:
        """Wait until the chain has been run on a message."""
        async with asyncio.timeout(4 * self.timeout + DEADLINE):
            while await self.stage(message) is Stage.UNFILTERED and not await self._attempts(  # noqa: ASYNC110 - as above
                message
            ):
                await asyncio.sleep(0.01)

    async def _attempts(self, message: QueueId) -> int:
        found = await self.store.describe(message)
        assert found is not None
        return found[2].attempts

    async def moved_to(self, message: QueueId, stage: Stage) -> None:
        """Wait until another process has moved a message."""
        async with asyncio.timeout(DEADLINE):
            while await self.stage(message) is not stage:  # noqa: ASYNC110 - no event of ours
                await asyncio.sleep(0.02)


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - what other processes do sets no event of ours
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
