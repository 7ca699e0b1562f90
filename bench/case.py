"""Cases: peers that are measured in turns, and goals for their figures."""

import enum
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Figures = Mapping[str, float]
"""The figures of one contestant in one round, by name; the name says the unit."""


BIN = Path(sys.executable).parent


class Durability(enum.StrEnum):
    """The ways in which our store makes a message durable: the two columns of the goals."""

    SYNCED = "synced"
    LOG = "log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The input of a contestant: a directory of its own, and the amount of work."""

    directory: Path
    scale: float = 1.0
    durability: Durability = Durability.SYNCED
    commands: Path = BIN
    """The directory of our commands."""

    def count(self, messages: int, *, least: int = 1) -> int:
        """Give a number of messages, scaled."""
        return max(least, int(messages * self.scale))


Contestant = Callable[[Bench], Figures]


STRANGERS = frozenset({"postfix", "fork and exec"})
"""Contestants that are not ours: how our store makes mail durable is nothing to them."""


class Bound(enum.Enum):
    """The good side of a goal."""

    AT_LEAST = "≥"
    AT_MOST = "≤"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal for a figure of one contestant, by itself or divided by another contestant's."""

    figure: str
    of: str = "ours"
    to: str = ""
    to_figure: str = ""
    bound: Bound = Bound.AT_LEAST
    synced: float
    log: float | None = None

    def wanted(self, durability: Durability) -> float:
        """Give the figure that this column asks for."""
        if durability is Durability.LOG and self.log is not None:
            return self.log
        return self.synced

    def met(self, value: float, durability: Durability) -> bool:
        """Tell whether the value is good enough."""
        wanted = self.wanted(durability)
        return value >= wanted if self.bound is Bound.AT_LEAST else value <= wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of the table of goals, measured in rounds in which the contestants take turns."""

    name: str
    words: str
    contestants: Mapping[str, Contestant]
    goals: tuple[Goal, ...] = field(default=())
    short: float | None = None
    """The scale in the short form, if the case belongs to it."""
