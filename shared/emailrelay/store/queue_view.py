"""The queue of a store, for commands that only look: no claim, no change, no event loop."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

from emailrelay import journal
from emailrelay.envelope import Envelope
from emailrelay.journal import Entry, History
from emailrelay.queue_id import QueueId, arrived_at
from emailrelay.schedule import is_due
from emailrelay.stage import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A message as a listing shows it."""

    id: QueueId
    stage: Stage
    since: float
    """Modification time (seconds since 1970): for a deferred message, the hint of its next try."""
    size: int
    """Octets of content; 0 if it is missing."""


class QueueEntry(NamedTuple):
    """A message of the queue, with its envelope if it can be read."""

    listed: Listed
    envelope: Envelope | None
    entries: Sequence[Entry] = ()
    """Its journal."""
    problem: str = ""
    """The reason why it cannot be read; then there is no envelope."""

    @property
    def history(self) -> History:
        """Fold the journal."""
        return journal.read(self.entries)


class StageCount(NamedTuple):
    """The messages of a stage."""

    stage: Stage
    later: bool
    """True: those whose next try is later. It may be so at the stages UNFILTERED and READY."""
    messages: int
    octets: int
    oldest: float
    """A time of arrival (seconds since 1970)."""

    def plus(self, other: Self) -> Self:
        """Return the count of these messages and others of the same stage."""
        return self._replace(
            messages=self.messages + other.messages,
            octets=self.octets + other.octets,
            oldest=min(self.oldest, other.oldest),
        )


def summed(counts: Iterable[StageCount]) -> Collection[StageCount]:
    """Add up counts; return one for each stage and ``later``."""
    found = dict[tuple[Stage, bool], StageCount]()
    for count in counts:
        key = count.stage, count.later
        known = found.get(key)
        found[key] = count if known is None else known.plus(count)
    return found.values()


def waits(stage: Stage, next_attempt: float | None, now: float) -> bool:
    """Tell whether a message's next try is later (``next_attempt`` None: at once)."""
    return stage in (Stage.UNFILTERED, Stage.READY) and not is_due(next_attempt, now)


def arrived(listed: Listed) -> float:
    """Return the arrival time (seconds since 1970): from an id of ours, else from the file."""
    return arrived_at(listed.id) or listed.since


class QueueView(ABC):
    """The messages of a store. A ``with`` block. Messages that leave meanwhile are left out.

    All methods raise:
        StoreUnusable: there is no such store.
        StoreError, OSError: it cannot be read now.
    """

    missing: str | None = None
    """The reason why a listing lacked the mail of one of several stores, if it did."""

    @abstractmethod
    def listing(
        self, stages: Sequence[Stage] = tuple(Stage), ids: Collection[QueueId] = ()
    ) -> Iterator[Listed]:
        """List the messages at these stages, oldest first, without reading their envelopes.

        ``ids``: only these messages; none: all.
        """

    def counts(self, now: float, *, names_only: bool = False) -> Iterable[StageCount]:  # noqa: ARG002 - a default
        """Count the messages of each stage that has some. This default lists them all.

        ``names_only``: ``octets`` and ``later`` do not matter, so the count can be quicker.
        """
        return summed(
            StageCount(
                listed.stage,
                later=waits(listed.stage, listed.since, now),
                messages=1,
                octets=listed.size,
                oldest=arrived(listed),
            )
            for listed in self.listing()
        )

    @abstractmethod
    def entries(self, listed: Iterable[Listed]) -> Iterator[QueueEntry]:
        """Read the envelopes and journals of messages, in their order, a few hundred at a time.

        A message that has moved since it was listed comes with its present stage.
        """

    @abstractmethod
    def content(self, message: QueueId) -> Iterator[bytes] | None:
        """Read the content of a message in chunks. None: there is no such content."""

    def free(self) -> tuple[int, int] | None:
        """Return the octets of free room and of all room. None: unknown; this is the default."""
        return None

    def close(self) -> None:  # noqa: B027 - a default
        """Close what is open."""

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()
