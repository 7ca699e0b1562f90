"""Forwarders that are killed while they tell senders of failed mail: each sender is told once."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.acceptance.relay import Relay, Service, Sink, until
from tests.database_server import DatabaseServer
from tests.faults.extent import extent
from tests.faults.report import Report

from emailrelay.envelope import Address, Envelope
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.chooser import open_store

DRIVER = Path(__file__).parent.parent / "fakes" / "dying_command.py"
KILLS = int(os.environ.get("KILLS", extent(4, 300)))
A_ROUND = 12
"""Messages that fail before each kill."""


async def _fail(place: str | Path, numbers: range) -> list[QueueId]:
    """Put messages into a store, and give them up as an operator does."""
    failed: list[QueueId] = []
    async with open_store(place, report=lambda _event: None) as store:
        for number in numbers:
            envelope = Envelope(sender=Address("a@client.test"), to_remote=(Address("b@y.test"),))
            async with store.draft(envelope) as draft:
                draft.write(b"Message-ID: <%d@client.test>\r\n\r\nbody\r\n" % number)
                await draft.commit(Stage.UNFILTERED)
            await store.fail(draft.id)
            failed.append(draft.id)
    return failed


async def _left(place: str | Path) -> int:
    """Count the messages whose sender is not told, and the notices on their way."""
    left = 0
    async with open_store(place, report=lambda _event: None) as store:
        async for listed in store.listing():
            found = await store.describe(listed.id)
            left += found is not None and not found[2].notified
    return left


@pytest.mark.parametrize("messages", [1, 3])
def test_bouncer_killed_before_any_step_tells_each_sender_once(
    tmp_path: Path, messages: int
) -> None:
    failed = asyncio.run(_fail(tmp_path / "template", range(messages)))
    copies = tmp_path / "copies"
    copies.mkdir()
    done = subprocess.run(
        [sys.executable, DRIVER, "bounce", tmp_path / "template", copies, "DIR"],
        check=True,
        capture_output=True,
        text=True,
        timeout=200,
    )
    found = [copies / str(k) for k in range(1, int(done.stdout) + 1)]
    assert len(found) > 15, "the bouncer has more steps than that"
    for copy in found:
        assert len(list(copy.glob("*.bad"))) == messages
        for bad in copy.glob("*.bad"):
            assert bad.read_text().count("X-MailRelay-Notified:") == 1, copy.name
        (notice,) = copy.glob("*.envelope")
        text = notice.with_suffix(".content").read_text()
        assert all(message in text for message in failed), copy.name
        assert list((copy / ".dsn").iterdir()) == [], copy.name
        assert list((copy / ".new").iterdir()) == [], copy.name


@pytest.fixture(params=["spool", "postgres"])
def place(request: pytest.FixtureRequest, relay: Relay) -> Iterator[str | Path]:
    if request.param == "spool":
        yield relay.spool
        return
    server = DatabaseServer()
    try:
        relay.store = server.url(server.database(relay.directory), lease="2")
        yield relay.store
    finally:
        server.remove()


@dataclass
class Storm:
    """Forwarders on one store, in which mail fails again and again."""

    place: str | Path
    sink: Sink
    forwarders: list[Service]
    failed: list[QueueId] = field(default_factory=list[QueueId])

    def grow(self) -> None:
        numbers = range(len(self.failed), len(self.failed) + A_ROUND)
        self.failed += asyncio.run(_fail(self.place, numbers))

    def arrived(self, least: int) -> bool:
        """Return whether so many notices have arrived; have the forwarders look for mail."""
        for service in self.forwarders:
            service.send(signal.SIGUSR1)
        return len(self.sink.arrivals()) >= least

    def told(self) -> bool:
        self.arrived(0)
        return asyncio.run(_left(self.place)) == 0

    def kill(self, chance: random.Random) -> None:
        service = chance.choice(self.forwarders)
        service.kill()
        service.spawn()
        service.hear("started", pid=service.pid)


@pytest.mark.timeout(extent(300, 3600))
def test_forwarders_killed_at_random_tell_each_sender_once(
    relay: Relay, place: str | Path, report: Report
) -> None:
    seed = int(os.environ.get("SEED", random.randrange(10**6)))  # noqa: S311 -- no secret
    relay.directory.joinpath("seed").write_text(str(seed))
    chance = random.Random(seed)  # noqa: S311 -- no secret
    sink = relay.sink().start()
    options = ("--bounces=yes", "--bounces-per-hour=1000000")
    names = ("forwarder-1", "forwarder-2")
    storm = Storm(place, sink, [relay.forwarder(sink.port, *options, name=n) for n in names])
    for service in storm.forwarders:
        service.spawn()
        service.hear("started", pid=service.pid)
    for _ in range(KILLS):
        before = len(sink.arrivals())
        storm.grow()
        least = before + chance.randrange(A_ROUND // 2)
        until(lambda least=least: storm.arrived(least), "notices arrive")  # type: ignore[misc]
        storm.kill(chance)
    until(storm.told, "all senders are told")
    notices = {(a.all("Message-ID")[0], a.all("In-Reply-To")[0]) for a in sink.arrivals()}
    about = Counter(original for _, original in notices)
    assert set(about) == {f"<{n}@client.test>" for n in range(len(storm.failed))}
    assert max(about.values()) == 1, "two notices about one message"
    report.figure("notices, kills of forwarders", f"{KILLS}, {len(about)} senders told once")
    relay.stop()
