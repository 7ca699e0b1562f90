"""The times at which a supervisor starts a child again, or gives up.

These are rules for any kind of child process. Times are seconds of one monotonic clock.
"""

from dataclasses import dataclass

CRASHED = 70
"""Exit status of a worker that an exception ended (EX_SOFTWARE of sysexits.h)."""

_STEADY = 10.0
"""A process that ran for this long did not die of its start."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
"""The pause before a process is started again: after one death, and at most."""


def has_done_its_work(status: int) -> bool:
    """Tell whether a worker ended by itself: not by a signal (negative) or an exception."""
    return status >= 0 and status != CRASHED


@dataclass(slots=True)
class RestartRule:
    """The pauses between the processes that hold one place, one after the other."""

    _started: float = 0.0
    _deaths: int = 0
    """Deaths in a row, each soon after the start."""

    def start(self, now: float) -> None:
        """Note that a process starts."""
        self._started = now

    def pause_after_death(self, now: float) -> float:
        """Return the time until the next start. It doubles with each death soon after a start."""
        self._deaths = 1 if now - self._started >= _STEADY else self._deaths + 1
        return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._deaths - 1, 16))


class StartTimeLimit:
    """The time that processes have to become ready, longer while they make progress.

    On a loaded machine, or with a large spool, a start takes long, but it uses processor time.
    """

    def __init__(self, now: float, *, without_progress: float, in_all: float) -> None:
        self._without_progress = without_progress
        self._in_all = in_all
        self._began = self._moved = now
        self._progress: object = None

    def is_over(self, progress: object, now: float) -> bool:
        """Tell whether to give the start up. A changed ``progress`` restarts the shorter time."""
        if progress != self._progress:
            self._progress, self._moved = progress, now
        return now - self._moved >= self._without_progress or now - self._began >= self._in_all
