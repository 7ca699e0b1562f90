"""Time as tokens need it: a clock that an administrator sets must not make an old token young."""

import time
from dataclasses import dataclass

from emailrelay import linux


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """One moment, by the clock on the wall and by the time since this machine started."""

    wall: float
    """Seconds since 1970; jumps when the clock is set."""
    uptime: float
    """Seconds since the machine started, sleep included; the same for all its processes."""
    boot: str
    """Which start of the machine that was; empty if the system does not say."""


def read_clocks() -> ClockReading:
    """Give the present moment."""
    return ClockReading(wall=time.time(), uptime=linux.time_since_boot(), boot=linux.boot_id())


def age(since: ClockReading, now: ClockReading) -> float:
    """Give the seconds that have passed, rather too many than too few.

    A clock set forward makes a token renewed early, which does no harm. One set back is found out by
    the uptime; after a restart, when that says nothing, a moment in the future counts as long ago.
    """
    by_wall = now.wall - since.wall
    if since.boot and since.boot == now.boot:
        return max(by_wall, now.uptime - since.uptime)
    return by_wall if by_wall >= 0 else float("inf")
