"""Time limits for programs that must come to a certain point before their time is over."""

from collections.abc import Awaitable, Callable
from pathlib import Path

_SECONDS = (0.5, 2.0, 8.0, 30.0)


async def with_enough_time(attempt: Callable[[float], Awaitable[bool]]) -> float:
    """Try with little time, and with more if the machine was too slow for it; return the seconds.

    ``attempt`` tells whether the program came to that point.
    """
    for seconds in _SECONDS:
        if await attempt(seconds):
            return seconds
    raise AssertionError(f"{_SECONDS[-1]:g} s were not enough")


def is_written(file: Path) -> bool:
    """Tell whether a program has written a line, and its end."""
    return file.exists() and file.read_text().endswith("\n")
