"""Decides how many flushes may be in progress at once, by the time that they take on this disk.

A flush beside others pays if it ends earlier than one that waits for the others. Some disks and
file systems serve several side by side, some one after the other, and that changes with the load.
So the time of each depth is measured, and the depth that served last is tried again from time to
time.
"""

MOST_FLUSHES = 4
"""Flushes of a process that can be in progress at once."""
_WEIGHT = 0.2
"""Share of the latest flush in the mean of its depth."""
_GAIN = 0.9
"""A further flush pays if it takes no more than this share of the time of one that waits."""
_TRY_AGAIN = 100
"""Flushes after which a depth that did not pay is tried again."""


class FlushDepth:
    """The times of flushes, by the number of flushes in progress at their beginning."""

    def __init__(self, most: int) -> None:
        """``most``: flushes that can be in progress at once."""
        self._seconds: list[float | None] = [None] * most
        self._refused = 0

    def allows(self, under_way: int) -> bool:
        """Tell if a further flush beside those in progress ends earlier than after them."""
        if under_way == 0:
            return True
        if under_way >= len(self._seconds):
            return False
        before, beside = self._seconds[under_way - 1], self._seconds[under_way]
        if before is None or beside is None:
            return True
        if beside <= _GAIN * before * (under_way + 1) / under_way:
            return True
        self._refused += 1
        if self._refused < _TRY_AGAIN:
            return False
        self._refused, self._seconds[under_way] = 0, None
        return True

    def took(self, under_way: int, seconds: float) -> None:
        """Note the time of a flush that began with ``under_way`` others."""
        mean = self._seconds[under_way]
        self._seconds[under_way] = seconds if mean is None else mean + _WEIGHT * (seconds - mean)
