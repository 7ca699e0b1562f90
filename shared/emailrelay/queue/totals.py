"""Totals of messages and octets in each state."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emailrelay.queue.state import State, arrived, state_of
from emailrelay.store.base import Listed


@dataclass(slots=True)
class Totals:
    """The messages of one state; ``oldest`` is a time of arrival (seconds since 1970)."""

    messages: int = 0
    octets: int = 0
    oldest: float | None = None

    def add(self, listed: Listed) -> None:
        """Count one message."""
        self.messages += 1
        self.octets += listed.size
        since = arrived(listed)
        self.oldest = since if self.oldest is None else min(self.oldest, since)


@dataclass(slots=True)
class StateTotals:
    """The totals of each state and of all states."""

    states: Mapping[State, Totals]
    total: Totals

    @classmethod
    def empty(cls) -> "StateTotals":
        """Return totals of zero."""
        return cls({state: Totals() for state in State}, Totals())

    def add(self, listed: Listed, now: float) -> None:
        """Count one message. No envelope is read."""
        self.states[state_of(listed.stage, listed.since, now)].add(listed)
        self.total.add(listed)

    def rows(self) -> list[tuple[str, Totals]]:
        """Return the totals with their names; the sum comes last."""
        return [
            *((state.value, total) for state, total in self.states.items()),
            ("all", self.total),
        ]

    def to_json(self) -> dict[str, Any]:
        """Return the object that ``--json`` prints; its keys are an interface (docs/queue.md)."""
        return {
            name: {"messages": total.messages, "octets": total.octets, "oldest": total.oldest}
            for name, total in self.rows()
        }
