"""Small charts of counts over time, as the numbers of an SVG picture."""

from collections.abc import Sequence
from typing import NamedTuple

from emailrelay_console.mail.traffic import KEPT, STEP, Minutes

BARS = 48
"""Bars of a day: half an hour each."""
WIDTH, HEIGHT = 240, 48
_GAP = 1


class Bar(NamedTuple):
    """A bar, in units of the picture."""

    x: float
    y: float
    width: float
    height: float


class Chart(NamedTuple):
    """A chart of a day that ends now."""

    bars: Sequence[Bar]
    total: int
    peak: int
    """The most in one bar."""


def chart(counts: Minutes, now: float) -> Chart:
    """Return the chart of the last day at ``now`` (seconds since 1970)."""
    step = KEPT / BARS
    sums, begin = [0] * BARS, now - KEPT
    for minute, number in counts.items():
        place = int((minute * STEP + STEP / 2 - begin) // step)
        sums[min(max(place, 0), BARS - 1)] += number
    peak, width = max(sums), WIDTH / BARS
    return Chart(
        [_bar(place * width, width, each, peak) for place, each in enumerate(sums)], sum(sums), peak
    )


def _bar(x: float, width: float, number: int, peak: int) -> Bar:
    # The smallest number is seen, too.
    height = max(2.0, HEIGHT * number / peak) if number else 0.0
    return Bar(round(x, 2), round(HEIGHT - height, 2), round(width - _GAP, 2), round(height, 2))
