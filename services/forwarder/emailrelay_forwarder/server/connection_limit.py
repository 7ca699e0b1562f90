"""The number of connections to a server: it grows while that helps, and falls at refusals."""

from dataclasses import dataclass, field

START = 20
"""Connections to a server at first."""
SLOW = 0.1
"""Seconds of a transaction. Beyond this, mail waits for the server and not for this process."""
TRUST = 100
"""Deliveries after which a server that refused connections is tried with one more."""


@dataclass(slots=True)
class ConnectionLimit:
    """The limit for one server; ``most`` is the configured limit."""

    most: int
    now: int = field(init=False)
    """The connections that may be open now."""
    _ceiling: int = field(init=False)
    """The largest number that the server has not refused so far."""
    _answers: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._ceiling = self.most
        self.now = min(START, self.most)

    def answered(self, seconds: float, *, waiting: bool) -> None:
        """Note the duration of a delivery; ``waiting``: more mail waited for a connection."""
        self._answers += 1
        if self._answers % TRUST == 0:
            self._ceiling = min(self._ceiling + 1, self.most)
        if self.now < self._ceiling and (self.now < START or (waiting and seconds > SLOW)):
            self.now += 1

    def refused(self, others: int) -> None:
        """Note that the server refused a connection beside ``others`` (at least one)."""
        self.now = self._ceiling = others

    def crowded(self, others: int) -> None:
        """Note that other processes use the remaining connections of the route now."""
        self.now = others

    def restrained(self) -> None:
        """Note that the server wants fewer connections (421 in mid-session, or its words)."""
        self.now = self._ceiling = max(1, self.now - 1)
