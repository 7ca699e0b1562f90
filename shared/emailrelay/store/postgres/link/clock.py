"""The database's clock, which all hosts share."""

import time
from collections.abc import Callable

from emailrelay.schedule import is_due

NOW = "coalesce(to_timestamp(%(now)s::float8), statement_timestamp())"
"""The present time in a statement: the database's, unless a test brings a clock."""


class DatabaseClock:
    """The time that the database shows, estimated between two answers from it.

    ``given`` replaces it in tests. Statements take ``parameter``: None lets the database look at
    its own clock.
    """

    __slots__ = ("_given", "_offset")

    def __init__(self, given: Callable[[], float] | None = None) -> None:
        self._given = given
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        """Return the seconds since 1970."""
        return time.monotonic() + self._offset if self._given is None else self._given()

    @property
    def parameter(self) -> float | None:
        """Return the present time as a parameter for ``NOW``."""
        return None if self._given is None else self._given()

    def delay(self, due: float) -> float:
        """Return the seconds until ``due``, a time by this host's clock, which may be wrong."""
        now = time.time() if self._given is None else self._given()
        return 0.0 if is_due(due, now) else due - now

    def learn(self, shown: float, asked: float) -> None:
        """Take a time that the database showed; it was asked at ``asked`` (monotonic seconds)."""
        self._offset = shown - (asked + time.monotonic()) / 2
