"""The extent of the fault tests: a little with every change, all of it by ``make faults``."""

import os
from typing import TypeVar

LONG = os.environ.get("FAULTS") == "long"
"""True for the run whose figures are published."""

_T = TypeVar("_T")


def extent(short: _T, long: _T) -> _T:
    """Choose the extent of this run."""
    return long if LONG else short
