"""The arithmetic of the harness: percentiles, spreads, ratios of rounds."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds, with the range they lie in."""

    median: float
    least: float
    most: float
    rounds: int


def spread(values: Sequence[float]) -> Spread:
    """Sum up the rounds of one figure; there must be at least one."""
    if not values:
        raise ValueError("no rounds to sum up")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Give the ratio of each round.

    Rounds are paired, since the speed of a machine changes from minute to minute: the ratio of two
    medians would compare a quiet minute with a busy one.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} rounds against {len(theirs)}")
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def percentile(values: Sequence[float], share: float) -> float:
    """Give the smallest value that ``share`` (0 to 1) of all values do not exceed: nearest rank."""
    if not values:
        raise ValueError("no values")
    if not 0 < share <= 1:
        raise ValueError(f"no share: {share}")
    # The rounding of 0.07 * 100 must not count as the eighth of a hundred.
    rank = math.ceil(round(share * len(values), 9))
    return sorted(values)[rank - 1]
