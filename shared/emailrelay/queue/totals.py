"""Totals of messages and octets in each state."""

from collections.abc import Iterable
from dataclasses import dataclass

from emailrelay.queue.state import State, state_at
from emailrelay.store.queue_view import StageCount


@dataclass(slots=True)
class Totals:
    """The messages of one state; ``oldest`` is a time of arrival (seconds since 1970).

    ``--json`` prints these fields as an object: their names are an interface (docs/queue.md).
    """

    messages: int = 0
    octets: int = 0
    oldest: float | None = None

    def add(self, messages: int, octets: int, oldest: float) -> None:
        """Count messages."""
        self.messages += messages
        self.octets += octets
        self.oldest = oldest if self.oldest is None else min(self.oldest, oldest)


def totals(counts: Iterable[StageCount]) -> dict[str, Totals]:
    """Return the totals of each state, by its name; ``all`` is the sum."""
    found = {name: Totals() for name in [*(state.value for state in State), "all"]}
    for count in counts:
        for name in (state_at(count.stage, later=count.later).value, "all"):
            found[name].add(count.messages, count.octets, count.oldest)
    return found
