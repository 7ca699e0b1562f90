"""Thousands of power cuts, at random moments of a busy store, undo no result that was certain."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.acceptance.relay import ROOT
from tests.acceptance.sink import Arrival
from tests.faults import sabotage
from tests.faults.busy_store import News, send_all
from tests.faults.checker import Violation, illegal
from tests.faults.disk import Disk
from tests.faults.extent import extent
from tests.faults.promises import Described, Promises
from tests.faults.report import Report

from emailrelay.envelope import Envelope
from emailrelay.errors import DamagedMessage
from emailrelay.events.event import Event
from emailrelay.events.store import SetAside
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.spool_sync import SpoolSync
from emailrelay.stage import Stage
from emailrelay.store.base import Store
from emailrelay.store.chooser import open_store

CUTS = int(os.environ.get("CUTS", extent(10, 1250)))
"""On each file system, with each way to sync."""
A_ROUND = 10
"""Cuts after which all mail is sent, and must have gone."""
EARLY = 0.3
"""The share of cuts that come while a store is opened, or has only just been."""
UNSEEN = 0.25
"""The share of cuts after which the next process finds the spool as it is, and may be cut off as it
recovers it."""
MOST_NEWS = 60
"""Pieces of news before a cut."""
OPENING, WORKING = 0.03, 0.005
"""The most seconds from the last of them to the cut. Recovering takes longer than the work for a
message."""


class Office:
    """A busy store, see ``tests.faults.busy_store``, in which one process at a time runs."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def live(self, number: int, seed: int) -> None:
        self._say(f"{number} {seed}")

    def die(self) -> Iterator[News]:
        """Kill the process; return all reports that were sent and not yet read."""
        self._say("")
        while (news := self.hear())[0] != "ended":
            yield news

    def hear(self) -> News:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the busy store has ended"
        kind, at, what = json.loads(line)
        return kind, at, what

    def _say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word.encode() + b"\n")
        self._process.stdin.flush()


@contextmanager
def opened(spool: Path, sync: SpoolSync, env: Mapping[str, str] | None = None) -> Generator[Office]:
    command = [sys.executable, "-m", "tests.faults.busy_store", str(spool), sync]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=pipe, stdout=pipe) as process:
        yield Office(process)


@dataclass
class Course:
    """Power cuts of one disk, and the promises of its store since it was last empty."""

    disk: Disk
    office: Office
    chance: random.Random
    promises: Promises = field(default_factory=Promises)
    cuts: int = 0
    committed: int = 0
    sent: int = 0
    again: int = 0
    """Deliveries that were in doubt, and happened twice."""

    @property
    def spool(self) -> Path:
        return self.disk.root / "spool"

    def run(self, cuts: int) -> list[Violation]:
        """Cut this many times, or until something is wrong."""
        while self.cuts < cuts:
            self.cut()
            last = self.cuts % A_ROUND == 0 or self.cuts == cuts
            if last or self.chance.random() >= UNSEEN:
                found = self.judge()
                if not found and last:
                    found = self.end()
                if found:
                    return found
        return []

    def cut(self) -> None:
        """Let a process work, and cut the power after one of its reports."""
        self.cuts += 1
        self.office.live(self.cuts, self.chance.randrange(2**32))
        early = self.chance.random() < EARLY
        heard: list[News] = []
        for _ in range(1 if early else self.chance.randint(2, MOST_NEWS)):
            heard.append(self.office.hear())
            if heard[-1][0] == "trouble":
                break
        # No wait for anything: the cut is to come at any moment.
        time.sleep(self.chance.choice((0, self.chance.uniform(0, OPENING if early else WORKING))))
        at = time.monotonic()
        self.disk.cut()
        for news in (*heard, *self.office.die()):
            self.promises.hear(news, at)
        self.disk.unmount()
        self.disk.mount()

    def judge(self) -> list[Violation]:
        """Look at the spool, open it as the next process would, and check the promises."""
        unseen = illegal(self.spool)
        return [*unseen, *self.promises.judge(self.spool, asyncio.run(self._described()))]

    def end(self) -> list[Violation]:
        """Send everything that is left, and begin anew."""
        last = asyncio.run(self._sent())
        found = self.promises.judge_at_the_end(self.spool, last)
        # No later cut may undo this work.
        self.disk.unmount()
        self.disk.mount()
        arrivals = self.promises.arrivals
        pairs = [(arrival.id, who) for arrival in arrivals for who in arrival.recipients]
        self.committed += len(self.promises.committed)
        self.sent += len({mail for mail, _ in pairs})
        self.again += len(pairs) - len(set(pairs))
        self.promises = Promises()
        return found

    async def _described(self) -> Described:
        """Let the filters' results be adopted; return the messages that some recipients have."""
        async with self._store() as store:
            for copy in (self.spool / ".work").glob("*.adopt"):
                message = QueueId(copy.stem)
                claim = await store.claim(Stage.UNFILTERED, message, due_only=False)
                if claim is not None:
                    await claim.release()
            sent = [QueueId(message) for message in self.promises.settled]
            return {message: what for message in sent if (what := await self._told(store, message))}

    async def _told(self, store: Store, message: QueueId) -> tuple[Stage, Envelope, History] | None:
        try:
            return await store.describe(message)
        except DamagedMessage as error:
            self.promises.trouble.append(f"{message}: {error}")
            return None

    async def _sent(self) -> list[Arrival]:
        async with self._store() as store:
            return await send_all(store)

    def _store(self) -> Store:
        return open_store(self.spool, report=self._report)

    def _report(self, event: Event) -> None:
        if isinstance(event, SetAside):
            self.promises.trouble.append(f"{event.id} was set aside: {event.reason}")


def _chance(directory: Path) -> random.Random:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))  # noqa: S311 -- no secret
    directory.joinpath("seed").write_text(str(seed))
    return random.Random(seed)  # noqa: S311 -- no secret


@pytest.mark.timeout(extent(300, 8 * 3600))
@pytest.mark.parametrize("sync", SpoolSync)
def test_power_cuts_of_a_busy_store_take_nothing_that_was_certain(
    disk: Disk, tmp_path: Path, report: Report, sync: SpoolSync
) -> None:
    with opened(disk.root / "spool", sync) as office:
        course = Course(disk, office, _chance(tmp_path))
        found = course.run(CUTS)
    report.figure(
        f"power cuts of a busy store on {disk.root.name}, {sync} synced",
        f"{course.cuts}; {course.committed} committed, {course.sent} sent"
        f" ({course.again} times twice, in doubt), {len(found)} violations",
    )
    assert found == [], tmp_path


FAULTS = {
    "files not synced": (sabotage.FILES_NOT_SYNCED, SpoolSync.FILES, "I1"),
    "log not synced": (sabotage.FILES_NOT_SYNCED, SpoolSync.LOG, "I1"),
    # Nearly always another sync, of a file, makes the removal of a sent message last, too.
    "directories not synced": (sabotage.DIRECTORIES_NOT_SYNCED, SpoolSync.FILES, "I3"),
}
SOME = ["files not synced", "log not synced"]
ENOUGH = 1000
"""Cuts within which a fault must show; most do at the first."""


@pytest.mark.parametrize("disk", extent(["ext4"], ["ext4", "xfs"]), indirect=True)
@pytest.mark.parametrize("fault", extent(SOME, list(FAULTS)))
def test_the_same_cuts_find_a_store_that_does_not_sync(
    fault: str, disk: Disk, tmp_path: Path, report: Report
) -> None:
    code, sync, breaks = FAULTS[fault]
    env = sabotage.environment(code, tmp_path / "fault")
    with opened(disk.root / "spool", sync, env) as office:
        course = Course(disk, office, _chance(tmp_path))
        found = course.run(ENOUGH)
    what = f"{len(found)} violations at cut {course.cuts}, the first: {found[0] if found else None}"
    report.figure(f"control {fault} on {disk.root.name}", what)
    assert breaks in {violation.invariant for violation in found}
