"""The extent of the fault tests: with every change, a little of them; all by ``make faults``."""

import os
from typing import TypeVar

LONG = os.environ.get("FAULTS") == "long"
"""True for the run whose figures are published."""
ALL = LONG or os.environ.get("FAULTS") == "short"
"""True for a run of all modules."""

_T = TypeVar("_T")


def extent(short: _T, long: _T) -> _T:
    """Choose the extent of this run."""
    return long if LONG else short
