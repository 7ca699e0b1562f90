"""How many clients are connected, overall and from each address, and whether one more may be."""

from collections import Counter
from dataclasses import dataclass, field

from emailrelay.reply import Reply


@dataclass(slots=True)
class Admission:
    """The connections of one process. Every ``enter`` that gives None is ended by a ``leave``."""

    most: int
    most_of_one: int
    total: int = 0
    of_address: Counter[str] = field(default_factory=Counter[str])

    def enter(self, address: str) -> Reply | None:
        """Let a client in, or say why not; its place is taken at once."""
        if self.total >= self.most or self.of_address[address] >= self.most_of_one:
            return Reply(421, "4.7.0 too many connections, try again later")
        self.total += 1
        self.of_address[address] += 1
        return None

    def leave(self, address: str) -> None:
        """Give the place back."""
        self.total -= 1
        self.of_address[address] -= 1
        if not self.of_address[address]:
            del self.of_address[address]
