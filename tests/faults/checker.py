"""Checks the invariants I1 to I7 over a spool, a client's replies and a smarthost's arrivals.

==  =========  ===================================================================================
I1  no loss    a message with a 250 is in the spool, whole, or has arrived
I2  integrity  each message is octet for octet as it was sent, edited by each filter once
I3  once       a recipient has a message twice only if a process died with it in doubt; the log
               names it
I4  states     only the published states are ever visible
I5  refusals   a refused message is not in the spool, and its refusal was temporary
I6  progress   in the end the spool is empty, with all dot names
I7  proxy      if the client waits for the delivery, 250 means arrived
==  =========  ===================================================================================
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.acceptance.sink import Arrival, record_of
from tests.faults.states import Illegal, State, listed, look


class Violation(NamedTuple):
    """An invariant that did not hold, and where that shows."""

    invariant: str
    text: str


@dataclass(frozen=True)
class Client:
    """The answers to the messages of the clients, by the ids that the clients gave them."""

    accepted: AbstractSet[str] = frozenset()
    """Answered 250."""
    refused: Mapping[str, int] = field(default_factory=dict[str, int])
    """Other answers. A message without an answer may or may not be there."""


@dataclass(frozen=True)
class Doubts:
    """The excused duplicates."""

    most: int = 0
    """One for each connection of a forwarder that died."""
    named: Collection[str] | None = ()
    """The queue ids that logs report as possible duplicates; None after a power cut, which leaves
    no note."""


@dataclass(frozen=True)
class Kept:
    """A message in the spool: the id that its client gave, and whether all of it is there."""

    queue_id: str
    state: State
    id: str
    whole: bool
    reason: bool
    """True for a failed message that has its reason."""
    record: Arrival
    """The record that a server would make of it as it is."""


def unedited(_: Arrival) -> bool:
    return True


def at_any_time(
    spool: Path,
    client: Client,
    arrivals: Sequence[Arrival],
    doubts: Doubts | None = None,
    *,
    edits: Callable[[Arrival], bool] = unedited,
) -> list[Violation]:
    """Check the rules of every moment, with all services dead or stopped."""
    found = illegal(spool)
    if found:
        return found
    kept = list(keeping(spool))
    return [
        *_lost(client, arrivals, kept),
        *_changed(arrivals, kept, edits),
        *_repeated(arrivals, doubts or Doubts()),
        *_refused(client, arrivals, kept),
    ]


def in_the_end(
    spool: Path,
    client: Client,
    arrivals: Sequence[Arrival],
    doubts: Doubts | None = None,
    *,
    edits: Callable[[Arrival], bool] = unedited,
) -> list[Violation]:
    """Check the rules after a healthy sink has had time to accept everything."""
    return [
        *at_any_time(spool, client, arrivals, doubts, edits=edits),
        *(Violation("I6", f"{name} is left") for name in left(spool)),
    ]


def proxied(
    spool: Path,
    client: Client,
    arrivals: Sequence[Arrival],
    doubts: Doubts | None = None,
    *,
    edits: Callable[[Arrival], bool] = unedited,
) -> list[Violation]:
    """Check a relay whose clients wait for the delivery, at rest."""
    doubts = doubts or Doubts()
    arrived = {arrival.id for arrival in arrivals}
    # A forwarder that died at a final dot cannot know the client's answer.
    certain = {a.id for a in arrivals if doubts.named is None or a.queue_id not in doubts.named}
    return [
        *illegal(spool),
        *(Violation("I7", f"{id_}: 250, not delivered") for id_ in client.accepted - arrived),
        *(Violation("I7", f"{id_}: refused, delivered") for id_ in client.refused.keys() & certain),
        *(Violation("I7", f"{name} is in the spool") for name in left(spool)),
        *_changed(arrivals, (), edits),
        *_repeated(arrivals, doubts),
    ]


def illegal(spool: Path) -> list[Violation]:
    """Check the names in a spool, at any moment, with or without running services (I4)."""
    try:
        look(spool)
    except Illegal as error:
        return [Violation("I4", str(error))]
    return []


def left(spool: Path) -> list[str]:
    """Name the entries that an idle, empty spool does not have."""
    return [name for name in listed(spool) if "/" in name or not name.startswith(".")]


def keeping(spool: Path) -> Iterator[Kept]:
    """Give the messages in the spool; a draft counts if its last line shows its commit."""
    for queue_id, state in look(spool).items():
        if state is State.GONE:
            continue
        content, envelope = _octets(spool, queue_id)
        if state is State.DRAFT and b"\nX-MailRelay-Accepted: " not in envelope:
            continue
        arrival = record_of("", [], content, "")
        ids, digests = arrival.all("X-Test-Id"), arrival.all("X-Test-Sha256")
        whole = digests == [arrival.sha256]
        if state is State.DRAFT and not whole:
            continue  # not complete: no client got a 250, or the loss shows
        reason = b"\nX-MailRelay-Reason: " in envelope
        id_ = ids[0] if ids else "?"
        yield Kept(queue_id, state, id_, whole=whole, reason=reason, record=arrival)


def _octets(spool: Path, queue_id: str) -> tuple[bytes, bytes]:
    names = [f"{where}emailrelay.{queue_id}." for where in ("", ".new/")]
    suffixes = ["envelope", "envelope.filter", "envelope.bad", "envelope.hold"]
    content = _first(spool / f"{name}content" for name in names)
    return content, _first(spool / f"{name}{suffix}" for name in names for suffix in suffixes)


def _first(paths: Iterator[Path]) -> bytes:
    return next((path.read_bytes() for path in paths if path.exists()), b"")


def _lost(client: Client, arrivals: Sequence[Arrival], kept: Sequence[Kept]) -> Iterator[Violation]:
    there = {arrival.id for arrival in arrivals}
    there |= {k.id for k in kept if k.whole and (k.state is not State.FAILED or k.reason)}
    for id_ in sorted(client.accepted - there):
        yield Violation("I1", f"{id_} is lost")
    for id_, times in Counter(k.id for k in kept).items():
        if times > 1:
            yield Violation("I1", f"{id_} is {times} messages in the spool")


def _changed(
    arrivals: Sequence[Arrival], kept: Sequence[Kept], edits: Callable[[Arrival], bool]
) -> Iterator[Violation]:
    for arrival in arrivals:
        if arrival.all("X-Test-Sha256") != [arrival.sha256]:
            yield Violation("I2", f"{arrival.id} arrived with {arrival.size} octets, changed")
        if not edits(arrival):
            yield Violation("I2", f"{arrival.id} arrived edited: {arrival.headers}")
    for k in kept:
        if not k.whole:
            yield Violation("I2", f"{k.id} ({k.queue_id}) is {k.state} and not whole")


def _repeated(arrivals: Sequence[Arrival], doubts: Doubts) -> Iterator[Violation]:
    seen = set[tuple[str, str]]()
    twice: list[Arrival] = []
    for arrival in arrivals:
        got = {(arrival.id, recipient) for recipient in arrival.recipients}
        if got & seen:
            twice.append(arrival)
        seen |= got
    if len(twice) > doubts.most:
        ids = [arrival.id for arrival in twice]
        yield Violation("I3", f"{len(twice)} arrived twice, {doubts.most} are excused: {ids}")
    for arrival in twice:
        if doubts.named is not None and arrival.queue_id not in doubts.named:
            yield Violation("I3", f"{arrival.id} ({arrival.queue_id}) arrived twice, unnamed")


def _refused(
    client: Client, arrivals: Sequence[Arrival], kept: Sequence[Kept]
) -> Iterator[Violation]:
    there = {arrival.id for arrival in arrivals} | {k.id for k in kept}
    for id_, code in client.refused.items():
        if id_ in there:
            yield Violation("I5", f"{id_} was refused with {code} and is there")
        if not 400 <= code <= 499:
            yield Violation("I5", f"{id_} was refused for good, with {code}")
