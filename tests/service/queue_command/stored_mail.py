"""A spool with messages in several states, and emailrelay-queue on it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.journal import Attempt
from emailrelay.queue.cli import main
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Fail
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

ANN, BOB = Address("ann@x.test"), Address("bob@y.test")
BUSY, NOBODY = Reply(451, "4.3.0 busy [red]"), Reply(550, "5.1.1 nobody")


def nothing(_event: Event) -> None:
    """Take reports."""


async def put(store: Store, sender: str = ANN) -> QueueId:
    async with store.draft(Envelope(sender=Address(sender), to_remote=(BOB,))) as draft:
        draft.write(b"Subject: x\r\n\r\nx\r\n")
        await draft.commit(Stage.READY)
    return draft.id


async def settle(store: Store, message: QueueId, settlement: Defer | Fail) -> None:
    claim = await store.claim(Stage.READY, message)
    assert claim is not None
    async with claim:
        await claim.settle(settlement)


class Mail:
    """One message in each state."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        asyncio.run(self._fill())

    async def _fill(self) -> None:
        now = time.time()
        async with open_store(self.spool, report=nothing) as store:
            self.deferred, self.failed = await put(store), await put(store, "root")
            self.held, self.ready = await put(store, ""), await put(store)
            attempt = Attempt(at=now, peer="mx:25", replies={BOB: BUSY}, next_attempt=now + 900)
            await settle(store, self.deferred, Defer(attempt))
            await settle(store, self.failed, Fail(NOBODY))
            await store.hold(self.held)

    def states(self) -> dict[str, str]:
        return {entry["id"]: entry["state"] for entry in self.entries()}

    def entries(self) -> Iterator[dict[str, Any]]:
        command = [
            sys.executable,
            "-m",
            "emailrelay.queue",
            "list",
            "--json",
            "-s",
            str(self.spool),
        ]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        for line in done.stdout.splitlines():
            yield json.loads(line)

    def run(self, *arguments: str) -> int:
        return main([*arguments, "--spool-dir", str(self.spool)])


def content(mail: Mail, message: QueueId) -> Path:
    return mail.spool / f"emailrelay.{message}.content"


def queue(mail: Mail, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emailrelay.queue", *arguments, "-s", str(mail.spool)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )


async def put_attempted(spool: Path, attempt: Attempt, sender: str) -> QueueId:
    async with open_store(spool, report=nothing) as store:
        message = await put(store, sender)
        await settle(store, message, Defer(attempt))
    return message
