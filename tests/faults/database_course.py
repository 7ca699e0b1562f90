"""Services around a loaded database, the faults, and what must have become of all mail."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.acceptance.relay import SAMPLE_FILTER, Relay, Service, Sink, until
from tests.acceptance.sink import Arrival
from tests.acceptance.source import Load, repeated
from tests.faults.checker import Client, Doubts, Violation, in_the_end, proxied

CONNECTIONS = 8
"""Of a forwarder: so many messages may be at their final dots when something happens."""
_PAUSE = ("--pause", "0.03")
"""The seconds that the smarthost takes for each message: time for a fault."""
_CHAIN = ("--filter", str(SAMPLE_FILTER))
_SESSIONS = 6
_TABLES = (
    "message",
    "body where not exists (select 1 from emailrelay.draft d where d.id = body.message)",
    "notice",
    "awaited where wait_until > statement_timestamp()",
)
"""A draft that a fault has left is swept with its content after an hour, as is a client's wait."""
_NO_CLIENT = """
with over as (update emailrelay.awaited set wait_until = statement_timestamp() returning id)
select count(*) from over
"""
"""Ends the waits that dead receivers have left, as half a minute does; no client waits any more."""
_JUDGES: dict[str, Callable[..., list[Violation]]] = {"stored": in_the_end, "delivered": proxied}


def edited_once(arrival: Arrival) -> bool:
    return arrival.all("X-Relayed") == ["by E-MailRelay"]


@dataclass
class Course:
    """Two hosts with receivers, two filterds and three forwarders, whose queue is a database."""

    relay: Relay
    asked: Callable[[str], object]
    """Runs a statement in the database; returns the first value of its answer."""
    chance: random.Random
    ack: str = "stored"
    """The event that the clients wait for: ``stored`` or ``delivered``."""
    done: Counter[str] = field(default_factory=Counter[str])
    """The faults so far."""
    answered: int = 0
    """Messages that a client was told 250 for."""
    twice: int = 0
    sink: Sink = field(init=False)
    _rounds: int = 0
    _loads: list[Load] = field(default_factory=list[Load])
    _seen: int = 0

    def start(self) -> None:
        self.sink = self.relay.sink(*_PAUSE).start()
        for name in ("receiver-1", "receiver-2"):
            self.relay.receiver(*_CHAIN, "--ack", self.ack, name=name)
        for name in ("filterd-1", "filterd-2"):
            self.relay.filterd(*_CHAIN, name=name)
        for name in ("forwarder-1", "forwarder-2", "forwarder-3"):
            retry = ("--retry-first", "0.5", "--retry-longest", "0.5")
            most = ("--connections-per-route", str(CONNECTIONS))
            self.relay.forwarder(self.sink.port, *most, *retry, name=name)
        for service in self.relay.services:
            service.spawn()
        self.all_up()

    def all_up(self) -> None:
        """Wait until no process is starting any more."""
        for service in self.relay.services:
            service.hear("started", pid=service.pid)

    def load(self) -> None:
        """Let two clients send, until ``settled``."""
        self._rounds += 1
        receivers = [s for s in self.relay.services if s.name.startswith("receiver")]
        first = self._rounds * 10**8
        self._loads = [
            Load(receiver.port, 10**9, _SESSIONS, first=first + number * 10**7)
            for number, receiver in enumerate(receivers)
        ]
        for load in self._loads:
            load.start()

    def progress(self, least: int = 0) -> None:
        """Wait for a few more messages, or by chance for none: faults may come close together."""
        wanted = self._told() + max(least, self.chance.randrange(8))
        until(lambda: self._told() >= wanted, "mail is taken between two faults")

    def kill(self) -> Service:
        """Kill one process, wherever it is, its start included; start it again at once."""
        service = self.chance.choice(self.relay.services)
        service.kill()
        service.spawn()
        self.done[service.name.split("-")[0]] += 1
        return service

    def settled(self) -> list[Violation]:
        """End the load, wait until all mail has left, and check it."""
        for load in self._loads:
            load.count = 0
            load.finish()
        if self.ack == "delivered":
            self.asked(_NO_CLIENT)
        until(lambda: not self._rows("message"), "the database is empty")
        self.all_up()
        arrivals = self.sink.arrivals()
        new, self._seen = arrivals[self._seen :], len(arrivals)
        accepted = {id_ for load in self._loads for id_ in load.acknowledged}
        refused = {id_: code for load in self._loads for id_, code in load.codes.items()}
        self.answered += len(accepted)
        self.twice += len(repeated(new))
        nothing = self.relay.directory / "nothing"
        nothing.mkdir(exist_ok=True)
        client = Client(accepted=accepted, refused=refused)
        most = CONNECTIONS * self.done.total()
        doubts = Doubts(most, self.relay.possible_duplicates())
        return [
            *_JUDGES[self.ack](nothing, client, new, doubts, edits=edited_once),
            *(
                Violation("I6", f"{rows} rows of {table} are left")
                for table in _TABLES
                if (rows := self._rows(table))
            ),
        ]

    def _rows(self, table: str) -> int:
        return int(str(self.asked(f"select count(*) from emailrelay.{table}")))

    def _told(self) -> int:
        return sum(len(load.acknowledged) for load in self._loads)

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {times}" for name, times in sorted(self.done.items()))
        return (
            f"{self.done.total()} ({faults}); {self.answered} answered 250, all arrived whole;"
            f" {self.twice} twice, all named"
        )
