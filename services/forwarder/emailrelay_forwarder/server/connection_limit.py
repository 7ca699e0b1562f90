"""How many connections a server gets at a time: some at first, more if that helps, fewer if it says so."""

from dataclasses import dataclass, field

START = 20
"""Connections that any server gets without having shown anything."""
SLOW = 0.1
"""Seconds a transaction beyond which the server's time, not ours, is what mail waits for."""
TRUST = 100
"""Deliveries after which a server that wanted fewer connections is asked for one more."""


@dataclass(slots=True)
class ConnectionLimit:
    """The number for one server; ``most`` is the configured limit."""

    most: int
    now: int = field(init=False)
    """Connections that may be open at a time."""
    _ceiling: int = field(init=False)
    """What the server has not refused so far."""
    _answers: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._ceiling = self.most
        self.now = min(START, self.most)

    def answered(self, seconds: float, *, waiting: bool) -> None:
        """Note a delivery that took so long; ``waiting``: more mail waited for a connection."""
        self._answers += 1
        if self._answers % TRUST == 0:
            self._ceiling = min(self._ceiling + 1, self.most)
        if self.now < self._ceiling and (self.now < START or (waiting and seconds > SLOW)):
            self.now += 1

    def refused(self, others: int) -> None:
        """Note that no further connection was given beside ``others``, at least one."""
        self.now = self._ceiling = others

    def crowded(self, others: int) -> None:
        """Note that other processes have the rest of the route's connections for the moment."""
        self.now = others

    def restrained(self) -> None:
        """Note that the server wants less of us (421 in mid-session, 4.7.x)."""
        self.now = self._ceiling = max(1, self.now - 1)
