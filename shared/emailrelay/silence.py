"""The pause after a question without an answer, so that not every client waits in vain."""

from dataclasses import dataclass

PAUSE = 15.0
"""Seconds without questions. Then a single one tries again, and the others go on without it."""


@dataclass(slots=True)
class Silence:
    """The silence of one that is asked. Times in seconds, on a clock that goes forward."""

    _again: float | None = None
    """The time of the next question; None: there is no silence."""

    def forbids(self, now: float) -> bool:
        """Tell whether it is not to be asked now; after the pause, False for one caller only."""
        again = self._again
        if again is not None and now >= again:
            self._again = now + PAUSE
        return again is not None and now < again

    def begin(self, now: float) -> None:
        """Note that a question got no answer."""
        self._again = now + PAUSE

    def end(self) -> None:
        """Note that a question was answered."""
        self._again = None
