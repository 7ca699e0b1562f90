"""Cases: peers that are measured in turns, and goals for their figures."""

import enum
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

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


class Verdict(enum.StrEnum):
    """The words for a measured figure beside its goal."""

    AIM = "aim met"
    FLOOR = "floor met"
    BELOW = "**below the floor**"


class Wanted(NamedTuple):
    """A floor that must hold, and the aim beyond it that the libraries allow."""

    floor: float
    aim: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A goal for a figure of one contestant, by itself or divided by another contestant's.

    A single number is floor and aim in one.
    """

    figure: str
    of: str = "ours"
    to: str = ""
    to_figure: str = ""
    bound: Bound = Bound.AT_LEAST
    synced: float | Wanted
    log: float | Wanted | None = None

    def wanted(self, durability: Durability) -> Wanted:
        """Give the figures that this column asks for."""
        wanted = self.synced
        if durability is Durability.LOG and self.log is not None:
            wanted = self.log
        return wanted if isinstance(wanted, Wanted) else Wanted(wanted, wanted)

    def verdict(self, value: float, durability: Durability) -> Verdict:
        """Judge a measured value."""
        wanted = self.wanted(durability)
        if self._reaches(value, wanted.aim):
            return Verdict.AIM
        return Verdict.FLOOR if self._reaches(value, wanted.floor) else Verdict.BELOW

    def _reaches(self, value: float, wanted: float) -> bool:
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
