"""The same trouble again and again is told once a minute."""

from collections.abc import Callable

from emailrelay.events import FilterTrouble, Report

_PAUSE = 60.0
_MOST_REMEMBERED = 1000


class Calm:
    """Passes on the first trouble of each filter and reason within a minute."""

    def __init__(self, report: Report, clock: Callable[[], float]) -> None:
        """Take where troubles go, and a clock in seconds."""
        self._report = report
        self._clock = clock
        self._told: dict[tuple[str, str], float] = {}

    def tell(self, trouble: FilterTrouble) -> None:
        """Report the trouble, unless the same was reported less than a minute ago."""
        now, key = self._clock(), (trouble.filter, trouble.reason)
        if now - self._told.get(key, -_PAUSE) < _PAUSE:
            return
        if len(self._told) >= _MOST_REMEMBERED:
            self._told.clear()
        self._told[key] = now
        self._report(trouble)
