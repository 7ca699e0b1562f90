"""Totals of messages and octets in each state."""

from collections.abc import Mapping
from dataclasses import dataclass

from emailrelay.queue.state import State, arrived, state_of
from emailrelay.store.base import Listed


@dataclass(slots=True)
class Totals:
    """The messages of one state; ``oldest`` is a time of arrival (seconds since 1970).

    ``--json`` prints these fields as an object: their names are an interface (docs/queue.md).
    """

    messages: int = 0
    octets: int = 0
    oldest: float | None = None

    def add(self, listed: Listed) -> None:
        """Count one message."""
        self.messages += 1
        self.octets += listed.size
        since = arrived(listed)
        self.oldest = since if self.oldest is None else min(self.oldest, since)


def no_messages() -> dict[str, Totals]:
    """Return totals of zero, by the name of each state; ``all`` is the sum."""
    return {name: Totals() for name in [*(state.value for state in State), "all"]}


def count(totals: Mapping[str, Totals], listed: Listed, now: float) -> None:
    """Add one message to the totals. No envelope is read."""
    for name in (state_of(listed.stage, listed.since, now).value, "all"):
        totals[name].add(listed)
