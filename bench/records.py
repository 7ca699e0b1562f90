"""Measurements as lines of JSON, so that rounds of several runs add up."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench.case import Durability, Goal
from bench.figures import Spread, ratios, spread


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The figures of one contestant in one round of a case."""

    case: str
    contestant: str
    durability: Durability
    round: str
    """The round: contestants with the same one were measured side by side."""
    commit: str
    scale: float = 1.0
    """The share of the case's message count that was sent."""
    load: float = 0.0
    """The machine's load average at the start, with that of the cases before."""
    figures: Mapping[str, float]

    def line(self) -> str:
        """Write it as a line."""
        return json.dumps(dataclasses.asdict(self))


def read(path: Path) -> list[Record]:
    """Read the records in a file; a missing file has none."""
    if not path.exists():
        return []
    return [parse(line) for line in path.read_text().splitlines() if line.strip()]


def parse(line: str) -> Record:
    """Read a line."""
    fields: dict[str, Any] = json.loads(line)
    fields["durability"] = Durability(fields["durability"])
    return Record(**fields)


def values(records: Iterable[Record], *, case: str, contestant: str, figure: str) -> list[float]:
    """Give a figure of all rounds, in their order."""
    return [
        record.figures[figure]
        for record in records
        if (record.case, record.contestant) == (case, contestant) and figure in record.figures
    ]


def outcome(records: Iterable[Record], *, case: str, goal: Goal) -> Spread | None:
    """Give the figures of a goal, over all rounds that measured it; nothing if none did."""
    own = _by_round(records := list(records), case, goal.of, goal.figure)
    if not goal.to:
        return spread(list(own.values())) if own else None
    other = _by_round(records, case, goal.to, goal.to_figure or goal.figure)
    both = [name for name in own if name in other]
    if not both:
        return None
    return spread(ratios([own[name] for name in both], [other[name] for name in both]))


def _by_round(
    records: Iterable[Record], case: str, contestant: str, figure: str
) -> dict[str, float]:
    return {
        record.round: record.figures[figure]
        for record in records
        if (record.case, record.contestant) == (case, contestant) and figure in record.figures
    }
