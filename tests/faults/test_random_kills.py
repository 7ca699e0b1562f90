"""Processes that are killed at random moments under load lose, cut, change and forget no mail."""

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.acceptance.relay import SAMPLE_FILTER, Relay, Service, Sink, until
from tests.acceptance.sink import Arrival
from tests.acceptance.source import Load
from tests.faults.checker import Client, Doubts, Violation, illegal, in_the_end, proxied
from tests.faults.extent import extent
from tests.faults.report import Report

from emailrelay.events.event import Event
from emailrelay.events.store import PossibleDuplicate
from emailrelay.store.chooser import open_store

KILLS = int(os.environ.get("KILLS", extent(16, 500)))
PROXY_KILLS = extent(8, 250)
A_ROUND = 100
"""Kills between two checks of all mail."""
CONNECTIONS = 8
"""Of a forwarder: so many messages may be at their final dots when it is killed."""
PAUSE = ("--pause", "0.03")
"""The seconds that the smarthost takes for each message: time for a kill."""
CHAIN = ("--filter", str(SAMPLE_FILTER))
SESSIONS = 6
"""Of each of the two clients."""


def edited_once(arrival: Arrival) -> bool:
    return arrival.all("X-Relayed") == ["by E-MailRelay"]


@dataclass
class Killing:
    """Two receivers, two filterds, three forwarders on one spool, and the kills so far."""

    relay: Relay
    sink: Sink
    chance: random.Random
    ack: str
    """The event that the clients wait for."""
    killed: dict[str, int] = field(default_factory=dict[str, int])
    seen: int = 0
    """The number of checks of the spool right after a kill."""

    def start(self) -> None:
        for name in ("receiver-1", "receiver-2"):
            self.relay.receiver(*CHAIN, "--ack", self.ack, name=name)
        for name in ("filterd-1", "filterd-2"):
            self.relay.filterd(*CHAIN, name=name)
        for name in ("forwarder-1", "forwarder-2", "forwarder-3"):
            most = ("--connections-per-route", str(CONNECTIONS))
            self.relay.forwarder(self.sink.port, *most, name=name)
        self.restart_all()

    def restart_all(self) -> None:
        """Start all at once, and wait for them."""
        for service in self.relay.services:
            service.spawn()
        self.all_up()

    def all_up(self) -> None:
        """Wait until no process is starting any more."""
        for service in self.relay.services:
            service.hear("started", pid=service.pid)

    @property
    def receivers(self) -> list[Service]:
        return [s for s in self.relay.services if s.name.startswith("receiver")]

    def strike(self) -> list[Violation]:
        """Kill one process, wherever it is, its start included; start it again at once."""
        service = self.chance.choice(self.relay.services)
        service.send(signal.SIGKILL)
        service.wait()
        kind = service.name.split("-")[0]
        self.killed[kind] = self.killed.get(kind, 0) + 1
        self.seen += 1
        found = illegal(self.relay.spool)
        service.spawn()
        return found


def strike_under_load(killing: Killing, kills: int, first: int) -> Client:
    """Kill this many times while two clients send; return their answers."""
    loads = [
        Load(receiver.port, 10**9, SESSIONS, first=first + number * 10**7)
        for number, receiver in enumerate(killing.receivers)
    ]
    for load in loads:
        load.start()
    for _ in range(kills):
        _progress(killing, loads)
        assert killing.strike() == []
    for load in loads:
        load.count = 0
        load.finish()
    accepted = {id_ for load in loads for id_ in load.acknowledged}
    refused = {id_: code for load in loads for id_, code in load.codes.items()}
    return Client(accepted=accepted, refused=refused)


def _progress(killing: Killing, loads: Sequence[Load]) -> None:
    """Wait for a few messages more, by chance for none: kills may follow each other closely."""
    wanted = _told(loads) + killing.chance.randrange(8)
    until(lambda: _told(loads) >= wanted, "mail is taken between two kills")


def _told(loads: Sequence[Load]) -> int:
    return sum(len(load.acknowledged) for load in loads)


def swept(spool: Path) -> set[str]:
    """Open the spool as the next process would; give the duplicates that it names."""
    told: list[Event] = []

    async def look() -> None:
        async with open_store(spool, report=told.append):
            pass

    asyncio.run(look())
    return {event.id for event in told if isinstance(event, PossibleDuplicate)}


@dataclass
class Course:
    """Rounds of kills; after each, all mail must have its outcome."""

    relay: Relay
    report: Report
    ack: str
    judge: Callable[..., list[Violation]]
    told: int = 0
    """Messages that a client was told 250 for."""

    def run(self, kills: int) -> None:
        seed = int(os.environ.get("SEED", random.randrange(10**6)))  # noqa: S311 -- no secret
        self.relay.directory.joinpath("seed").write_text(str(seed))
        sink = self.relay.sink(*PAUSE).start()
        chance = random.Random(seed)  # noqa: S311 -- no secret
        killing = Killing(self.relay, sink, chance, self.ack)
        killing.start()
        done = 0
        while done < kills:
            now = min(A_ROUND, kills - done)
            client = strike_under_load(killing, now, first=done * 10**8)
            done += now
            self.relay.drained()
            killing.all_up()
            self.relay.stop()
            self._look(killing, client, done, seed)
            if done < kills:
                killing.restart_all()

    def _look(self, killing: Killing, client: Client, done: int, seed: int) -> None:
        spool = self.relay.spool
        named = swept(spool) | self.relay.possible_duplicates()
        arrivals = killing.sink.arrivals()
        doubts = Doubts(killing.killed.get("forwarder", 0) * CONNECTIONS, named)
        assert self.judge(spool, client, arrivals, doubts, edits=edited_once) == [], seed
        self.told += len(client.accepted)
        twice = len(arrivals) - len({arrival.id for arrival in arrivals})
        self.report.figure(
            f"kills, clients wait until {self.ack}",
            f"{done} {killing.killed}; {self.told} answered 250, all arrived whole; "
            f"{twice} twice, all named",
        )


@pytest.mark.timeout(extent(300, 24 * 3600))
def test_kills_at_random_moments_lose_nothing(relay: Relay, report: Report) -> None:
    Course(relay, report, "stored", in_the_end).run(KILLS)


@pytest.mark.timeout(extent(300, 3600))
def test_kills_of_a_proxy_never_make_its_answer_wrong(relay: Relay, report: Report) -> None:
    Course(relay, report, "delivered", proxied).run(PROXY_KILLS)
