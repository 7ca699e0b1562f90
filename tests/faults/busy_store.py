"""A busy store in a process that a power cut may end: it accepts, filters and sends mail.

``python -m tests.faults.busy_store SPOOL files|log`` imports everything once. At each line
``NUMBER SEED`` on its standard input a new process opens the spool and works, until the next line
kills it. The process reports each certain result on standard output at once, as one line of JSON:
see ``News``.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeAlias

from tests.acceptance.sink import Arrival, record_of
from tests.acceptance.source import Mail

from emailrelay.envelope import Address, Envelope
from emailrelay.events.event import Event
from emailrelay.events.store import SetAside
from emailrelay.journal import Attempt
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import Defer, Done, Hold, Pass, after_attempt
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.base import CHUNK, Store
from emailrelay.store.chooser import open_store
from emailrelay.store.claim import Claim
from emailrelay.store.feed import Feed
from emailrelay.store.spool.durable import segment

News: TypeAlias = tuple[str, float, Any]
"""A kind of event, its time by the machine's clock, and its message.

``opening``: the store opens. ``committed``: a message, by its test's id. ``left``: a draft, by the
same. ``passing``: a message, by its queue id, is about to pass the filters. ``edited``: it has
passed, changed. ``dot``: an ``Arrival`` at the next server. ``settled``: the server's answer was
recorded: queue id and recipients. ``trouble``: an error; before the power cut it is a fault of the
store.
"""

EDIT = b"X-Relayed: by E-MailRelay\r\n"
A_LIFE = 10_000
"""Numbers of mail that each process has for itself."""
_RECIPIENTS = [Address(f"{name}@sink.test") for name in ("ann", "bob", "cat")]
_REPLIES = [Reply(250, "2.0.0 ok"), Reply(451, "4.3.0 later"), Reply(550, "5.1.1 nobody")]
_AT_ONCE = Schedule(first=0.005, longest=0.01)
_LARGE = 9 * 1024 * 1024
"""Octets; more than a draft has before its write-back begins."""
_SMALL_SEGMENT = 5 * 512 * 1024
"""Octets of a log's segments: little more than the largest batch, so that there are several."""


def entrance(mail: str) -> Stage:
    """Return the stage at which a message enters, by its test's id: the check does the same."""
    return Stage.READY if mail.endswith(("0", "3", "7")) else Stage.UNFILTERED


def tell(kind: str, what: object = None) -> None:
    """Write a line to the parent: a pipe takes a short line whole."""
    os.write(1, json.dumps((kind, time.monotonic(), what)).encode() + b"\n")


def report(event: Event) -> None:
    """Report damage: no power cut may cause any. Errors of a disk without power are trouble."""
    if isinstance(event, SetAside):
        tell("trouble", f"{event.id} was set aside: {event.reason}")


class BusyStore:
    """Everything that works on one store at the same time."""

    def __init__(self, store: Store, chance: random.Random, first: int) -> None:
        self._store, self._chance, self._number = store, chance, first

    async def work(self) -> None:
        """Work until the process ends."""
        unfiltered, ready = self._store.feed(Stage.UNFILTERED), self._store.feed(Stage.READY)
        async with unfiltered, ready, asyncio.TaskGroup() as tasks:
            # Batches of one, of two, and of many: each is synced in its own way.
            for _ in range(self._chance.choice((1, 2, 4, 12))):
                tasks.create_task(self._take_in())
            for _ in range(self._chance.choice((1, 3))):
                tasks.create_task(self._filter(unfiltered))
            for _ in range(self._chance.choice((1, 2, 8))):
                tasks.create_task(self._forward(ready))

    async def _take_in(self) -> None:
        while True:
            self._number += 1
            mail = Mail(self._number, self._size())
            recipients = tuple(_RECIPIENTS[: self._chance.randint(1, 3)])
            envelope = Envelope(sender=Address("sender@client.test"), to_remote=recipients)
            committed = self._chance.random() < 0.95
            async with self._store.draft(envelope) as draft:
                content = _received(mail)
                for offset in range(0, len(content), CHUNK):
                    if not draft.write(content[offset : offset + CHUNK]):
                        await draft.drain()
                if committed:
                    await draft.commit(entrance(mail.id))
            tell("committed" if committed else "left", mail.id)

    def _size(self) -> int:
        drawn = self._chance.random()
        if drawn < 0.002:
            return _LARGE
        # Some are too large for the log.
        return self._chance.randrange(600_000 if drawn < 0.03 else 20_000)

    async def _filter(self, feed: Feed) -> None:
        while True:
            async with await feed.claim() as claim:
                drawn = self._chance.random()
                if drawn < 0.05:
                    now = time.time()
                    busy = Attempt(at=now, peer="filter", trouble=_REPLIES[1], next_attempt=now)
                    await claim.settle(Defer(busy))
                    continue
                small = claim.at_hand("work")
                if drawn < 0.25 and small is not None:
                    small.replace(claim.envelope, EDIT + small.content)
                elif drawn < 0.8:
                    copy = await claim.work_copy("work")
                    if drawn < 0.5:
                        copy.content.write_bytes(EDIT + copy.content.read_bytes())
                tell("passing", claim.id)
                await claim.settle(Pass())
                if drawn < 0.5:
                    tell("edited", claim.id)

    async def _forward(self, feed: Feed) -> None:
        while True:
            async with await feed.claim() as claim:
                if self._chance.random() < 0.04:
                    await claim.settle(Hold())
                    continue
                pending = claim.history.pending(claim.envelope)
                replies = {who: self._chance.choices(_REPLIES, (20, 4, 1))[0] for who in pending}
                took = [who for who, reply in replies.items() if reply.accepted]
                if took:
                    tell("dot", asdict(await arrival(claim, took)))
                    assert await claim.before_dot("next.test")
                attempt = Attempt(at=time.time(), peer="next.test", replies=replies)
                chance = self._chance.random()
                await claim.settle(
                    after_attempt(
                        claim.envelope, claim.history, attempt, schedule=_AT_ONCE, chance=chance
                    )
                )
                if took:
                    tell("settled", (claim.id, took))


def _received(mail: Mail) -> bytes:
    """Return the octets of a message that a server has, with the last line end."""
    head, between, _ = mail.content.partition(b"\r\n\r\n")
    return head + between + mail.body


async def arrival(claim: Claim, recipients: list[Address]) -> Arrival:
    """Give the record that the next server makes of a message."""
    content = b"".join([chunk async for chunk in claim.content()])
    record = record_of(str(claim.envelope.sender), [*recipients], content, "")
    return replace(record, queue_id=str(claim.id))


async def send_all(store: Store) -> list[Arrival]:
    """Send everything in a store, deferred and failed mail, too."""
    arrivals: list[Arrival] = []

    async def move_on(stage: Stage, claim: Claim) -> None:
        async with claim:
            if stage is Stage.UNFILTERED:
                await claim.settle(Pass())
                return
            arrivals.append(await arrival(claim, list(claim.history.pending(claim.envelope))))
            await claim.settle(Done())

    async def take(stage: Stage, message: Any) -> None:
        if stage in (Stage.FAILED, Stage.HELD):
            await store.retry(message)
        elif (claim := await store.claim(stage, message, due_only=False)) is not None:
            await move_on(stage, claim)

    # Given up, unfiltered with its filters' result found, passed, sent: the rest then stays.
    for _ in range(6):
        entries = [entry async for entry in store.listing()]
        await asyncio.gather(*(take(entry.stage, entry.id) for entry in entries))
    return arrivals


async def _live(spool: Path, sync: SpoolSync, number: int, seed: int) -> None:
    tell("opening")
    async with open_store(spool, report=report, sync=sync) as store:
        await BusyStore(store, random.Random(seed), number * A_LIFE).work()  # noqa: S311 -- no secret


def _be_born(spool: Path, sync: SpoolSync, number: int, seed: int) -> int:
    child = os.fork()
    if child:
        return child
    try:
        asyncio.run(_live(spool, sync, number, seed))
    except BaseException as error:  # noqa: BLE001 -- whatever it is, it is told
        tell("trouble", repr(error)[:2000])
    finally:
        os._exit(1)


def main(spool: Path, sync: SpoolSync) -> None:
    """Run one process after the other, each until the next line or the end of standard input."""
    segment.SIZE = _SMALL_SEGMENT
    for line in sys.stdin:
        number, seed = line.split()
        child = _be_born(spool, sync, int(number), int(seed))
        sys.stdin.readline()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        tell("ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]), SpoolSync(sys.argv[2]))
