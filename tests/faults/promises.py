"""A store's statements on messages, over any number of power cuts, and the test of them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.sink import Arrival
from tests.faults.busy_store import News, entrance
from tests.faults.checker import Client, Doubts, Violation, at_any_time, in_the_end, keeping
from tests.faults.states import State, look

from emailrelay.envelope import Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage

_REFUSED = 451
Described = Mapping[QueueId, tuple[Stage, Envelope, History]]
"""The store's statements on messages that are still in it."""


def edits(arrival: Arrival) -> int:
    return len(arrival.all("X-Relayed"))


def edited_once_at_most(arrival: Arrival) -> bool:
    return edits(arrival) <= 1


@dataclass
class Promises:
    """All statements before the power cut. An announced step counts in any case: it excuses."""

    committed: set[str] = field(default_factory=set[str])
    left: set[str] = field(default_factory=set[str])
    passing: set[str] = field(default_factory=set[str])
    edited: set[str] = field(default_factory=set[str])
    settled: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """The recipients, by queue id, that have the message for certain."""
    arrivals: list[Arrival] = field(default_factory=list[Arrival])
    in_doubt: int = 0
    """Recipients of whose delivery a power cut may have taken the record. Each may come with a copy
    of its own."""
    again: list[str] = field(default_factory=list[str])
    """Messages that were sent although they had certainly been sent before."""
    trouble: list[str] = field(default_factory=list[str])

    def hear(self, news: News, cut_at: float) -> None:
        """Add the statements; no client has one that was made without power."""
        match news:
            case "dot", _, told:
                self.sent(Arrival(**told))
            case "passing", _, message:
                self.passing.add(message)
            case _, at, _ if at > cut_at:
                pass
            case "committed", _, mail:
                self.committed.add(mail)
            case "left", _, mail:
                self.left.add(mail)
            case "edited", _, message:
                self.edited.add(message)
            case "settled", _, (message, recipients):
                self.settled[message].update(recipients)
                self.in_doubt -= len(recipients)
            case "trouble", _, text:
                self.trouble.append(text)
            case _:
                pass

    def sent(self, arrival: Arrival) -> None:
        """Add the messages of the next server, also those that it is about to get: in doubt."""
        again = self.settled[arrival.queue_id].intersection(arrival.recipients)
        if again:
            self.again.append(f"{arrival.queue_id} was sent to {again}, who had it for certain")
        self.arrivals.append(arrival)
        self.in_doubt += len(arrival.recipients)

    def judge(self, spool: Path, described: Described) -> list[Violation]:
        """Check a spool that has been opened, and so recovered, since the power came back."""
        return [
            *(Violation("I4", text) for text in self.trouble),
            *(Violation("I3", text) for text in self.again),
            *at_any_time(
                spool, self._client, self.arrivals, self._doubts, edits=edited_once_at_most
            ),
            *(Violation("I6", f"{path.name} is left") for path in (spool / ".new").iterdir()),
            *self._sent_again(described),
            *self._filtered(spool),
        ]

    def judge_at_the_end(self, spool: Path, last: list[Arrival]) -> list[Violation]:
        """Check a spool from which everything was sent, without any cut."""
        for path in self._orphans(spool):
            path.unlink()
        doubts = self._doubts
        for arrival in last:
            self.sent(arrival)
        return [
            *in_the_end(spool, self._client, self.arrivals, doubts, edits=edited_once_at_most),
            *(Violation("I3", text) for text in self.again),
        ]

    def _orphans(self, spool: Path) -> Iterator[Path]:
        """Give contents of sent messages that the cut left without an envelope, for an hour."""
        sent = {arrival.queue_id for arrival in self.arrivals}
        for message, state in look(spool).items():
            if state is State.GONE and message in sent:
                yield spool / f"emailrelay.{message}.content"

    @property
    def _client(self) -> Client:
        return Client(accepted=self.committed, refused=dict.fromkeys(self.left, _REFUSED))

    @property
    def _doubts(self) -> Doubts:
        return Doubts(most=self.in_doubt, named=None)

    def _sent_again(self, described: Described) -> Iterator[Violation]:
        for message, (stage, envelope, history) in described.items():
            again = self.settled[message].intersection(history.pending(envelope))
            if again:
                text = f"{message} is {stage}, for {again}, who have it for certain"
                yield Violation("I3", text)

    def _filtered(self, spool: Path) -> Iterator[Violation]:
        for kept in keeping(spool):
            times = edits(kept.record)
            if times > 1:
                yield Violation("I2", f"{kept.queue_id} was edited {times} times")
            if kept.queue_id in self.edited and (times != 1 or kept.state is State.UNFILTERED):
                yield Violation("I2", f"{kept.queue_id} has lost what filters made of it")
            if kept.state is State.READY and self._unfiltered(kept.id, kept.queue_id):
                yield Violation("I2", f"{kept.queue_id} is past its filters, unseen by them")
        for arrival in self.arrivals:
            if self._unfiltered(arrival.id, arrival.queue_id):
                yield Violation("I2", f"{arrival.queue_id} was sent, unseen by its filters")

    def _unfiltered(self, mail: str, message: str) -> bool:
        return entrance(mail) is Stage.UNFILTERED and message not in self.passing
