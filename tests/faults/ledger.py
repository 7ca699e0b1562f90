"""The outcome of each accepted message, read from the logs alone: each has one."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Ledger:
    """The events of all logs about messages, by queue id."""

    accepted: Counter[str] = field(default_factory=Counter[str])
    """Recipients of messages with a 250 for their client."""
    delivered: Counter[str] = field(default_factory=Counter[str])
    """Recipients for whom the next server took it."""
    failed: set[str] = field(default_factory=set[str])
    """Given up, in part at least: for the operator, or a notice to the sender."""
    abandoned: set[str] = field(default_factory=set[str])
    """Dropped because a filter said so."""
    doubted: set[str] = field(default_factory=set[str])
    """Delivered twice, perhaps."""
    twice: list[str] = field(default_factory=list[str])
    """Events that the logs have twice although they can happen only once."""
    lines: Counter[str] = field(default_factory=Counter[str])
    """The number of each event."""

    def read(self, logs: Iterable[Path]) -> None:
        for log in logs:
            for told in _events(log):
                self._note(told)

    @property
    def ended(self) -> AbstractSet[str]:
        """The accepted messages that are settled."""
        whole = {id_ for id_, count in self.accepted.items() if self.delivered[id_] >= count}
        return (whole | self.failed | self.abandoned) & self.accepted.keys()

    @property
    def queued(self) -> AbstractSet[str]:
        """The accepted messages that must still be in the spool."""
        return self.accepted.keys() - self.ended

    def faults(self) -> list[str]:
        """Return the differences between the logs; a possible duplicate is not counted twice."""
        known = self.delivered.keys() | self.failed | self.abandoned
        whole = {id_ for id_, count in self.delivered.items() if count == self.accepted[id_]}
        surplus = [
            id_
            for id_, count in self.delivered.items()
            if count > self.accepted[id_] and id_ not in self.doubted
        ]
        return [
            *(f"{what} twice" for what in self.twice),
            *(f"{id_} has an end, and no beginning" for id_ in known - self.accepted.keys()),
            *(f"{id_} was delivered to more than it was for" for id_ in surplus),
            *(f"{id_} was delivered to all, and failed" for id_ in whole & self.failed),
            *(f"{id_} was dropped, and sent" for id_ in self.abandoned & self.delivered.keys()),
        ]

    def __str__(self) -> str:
        both = len(self.failed & self.delivered.keys())
        return (
            f"{len(self.accepted)} accepted"
            f" = {len(self.ended - self.failed - self.abandoned)} delivered"
            f" + {len(self.failed)} failed ({both} of them delivered to some)"
            f" + {len(self.abandoned)} dropped by a filter + {len(self.queued)} queued"
        )

    def _note(self, told: dict[str, Any]) -> None:
        event, id_ = str(told["event"]), str(told.get("id", ""))
        self.lines[event] += 1
        match event:
            case "received":
                self._once(id_, "received", self.accepted.keys())
                self.accepted[id_] = int(told["recipients"])
            case "delivered":
                self.delivered[id_] += int(told["recipients"])
            case "failed":
                self._once(id_, "failed", self.failed)
                self.failed.add(id_)
            case "abandoned":
                self._once(id_, "abandoned", self.abandoned)
                self.abandoned.add(id_)
            case "possible_duplicate":
                self.doubted.add(id_)
            case _:
                pass

    def _once(self, id_: str, what: str, before: AbstractSet[str]) -> None:
        if id_ in before:
            self.twice.append(f"{id_} {what}")


def _events(log: Path) -> Iterator[dict[str, Any]]:
    with log.open("rb") as lines:
        for line in lines:
            told = json.loads(line)
            assert isinstance(told, dict)
            yield told
