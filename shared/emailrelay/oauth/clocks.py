"""Clock readings for the age of tokens: changing the clock must not make an old token young."""

import time
from dataclasses import dataclass

from emailrelay import linux


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """The time of day and the time since the machine started, read together."""

    wall: float
    """Seconds since 1970; it jumps when the clock is set."""
    uptime: float
    """Seconds since the machine started, including sleep; the same in all its processes."""
    boot: str
    """The boot id of the machine; empty if the system has none."""


def read_clocks() -> ClockReading:
    """Read both clocks now."""
    return ClockReading(wall=time.time(), uptime=linux.time_since_boot(), boot=linux.boot_id())


def age(since: ClockReading, now: ClockReading) -> float:
    """Return the seconds that have passed, too many rather than too few.

    A clock that was set forward causes an early renewal, which does no harm. The uptime detects a
    clock that was set back. After a restart the uptime does not help: a reading in the future then
    counts as infinitely old.
    """
    by_wall = now.wall - since.wall
    if since.boot and since.boot == now.boot:
        return max(by_wall, now.uptime - since.uptime)
    return by_wall if by_wall >= 0 else float("inf")
