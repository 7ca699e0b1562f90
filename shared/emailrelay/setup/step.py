"""A step of the set-up: a change to make, or the reason why there is none.

The parts of the set-up yield steps one by one. The command prints each step, then makes the change,
then asks for the next. So a step is found in the state that the steps before have left. In a dry
run nothing is made, so a part also yields steps for a machine that lacks the steps before.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StepToTake:
    """Something to make or remove."""

    text: str
    """The change as an order: ``create the user emailrelay``."""
    make: Callable[[], object]


@dataclass(frozen=True, slots=True)
class AlreadySo:
    """Something that needs no change."""

    text: str


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Something that the set-up does not touch: it belongs to others or holds their work."""

    text: str
    remedy: str
    """A sentence or a command with which the administrator can go on."""


SetupStep = StepToTake | AlreadySo | LeftAlone
SetupSteps = Iterator[SetupStep]
