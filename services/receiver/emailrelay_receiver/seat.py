"""The place of a worker among the receiver's workers: whether it takes a client, or leaves it.

A message costs less in a worker that has many sessions: each turn of its event loop does more, and
so does each sync. A receiver and a forwarder need about the same time, so half of the processors
get a worker that accepts at once. The others stand by until these have work.
"""

import mmap
from dataclasses import dataclass

from emailrelay import linux

_FEW = 24
"""Sessions that make a worker's batches large enough: more would not make a message cheaper."""


class SessionCounts:
    """The sessions of each worker, in memory that they share. Make it before they are forked."""

    def __init__(self, workers: int) -> None:
        self.counts = memoryview(mmap.mmap(-1, 4 * workers)).cast("I")


@dataclass(frozen=True, slots=True)
class Seat:
    """A worker's place."""

    counts: SessionCounts
    place: int
    accept_at_once: int
    """Workers that accept at once; the others stand by."""

    def note(self, sessions: int) -> None:
        """Tell the other workers the number of sessions of this one."""
        self.counts.counts[self.place] = sessions

    @property
    def stands_by(self) -> bool:
        """True: this worker leaves clients to others as long as these have few."""
        return self.place >= self.accept_at_once

    def leaves_clients(self, most: int) -> bool:
        """Tell if a worker that accepts at once, and serves ``most`` sessions, has few now."""
        return min(self.counts.counts[: self.accept_at_once]) < min(_FEW, most // 2)


def seat(counts: SessionCounts, place: int) -> Seat:
    """Return the seat of a worker on this machine."""
    return Seat(counts, place, accept_at_once=max(1, linux.processors() // 2))
