"""Times and sizes as people say them, and in full."""

import math
import time

_SPANS = (("day", 86400), ("h", 3600), ("min", 60))


def span(seconds: float) -> str:
    """Return a time span in its largest unit: ``45 s``, ``12 min``, ``7 h``, ``3 days``."""
    seconds = max(seconds, 0.0) + 0.0  # no -0
    for unit, size in _SPANS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}{'s' if unit == 'day' else ''}"
    return f"{seconds:.0f} s"


def ago(seconds: float) -> str:
    """Return how long ago a moment was: ``3 min ago``."""
    return f"{span(seconds)} ago"


def ahead(seconds: float) -> str:
    """Return the time until a moment: ``in 12 min``, or ``now`` if it has come."""
    return f"in {span(seconds)}" if seconds > 0 else "now"


def octets(size: int) -> str:
    """Return a size in a unit that needs few digits: ``512 octets``, ``10 KiB``, ``2.5 MiB``."""
    if size < 1024:
        return f"{size} octet{'' if size == 1 else 's'}"
    power = min(int(math.log(size, 1024)), 4)
    value = size / 1024**power
    return f"{value:.1f} {' KMGT'[power]}iB" if value < 10 else f"{value:.0f} {' KMGT'[power]}iB"


def when(moment: float) -> str:
    """Return a date and time in the local time zone, with its offset."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(moment))
    except (OverflowError, ValueError, OSError):  # a journal may hold any number
        return f"@{moment:g}"
