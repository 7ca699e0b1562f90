"""A search for damage in a store, and its repair."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage


@dataclass(frozen=True, slots=True)
class DamageFinding:
    """An entry that should not be there, or should be different. ``name`` names it in the store."""

    name: str
    problem: str
    id: QueueId | None = None
    stage: Stage | None = None


class Verification(ABC):
    """One search. It changes nothing before ``repair``; mail may come and go meanwhile."""

    messages: int
    """The messages examined so far."""

    @abstractmethod
    async def listing(self) -> Sequence[str]:
        """List the names to examine.

        Raises:
            StoreError: the store cannot be read.

        """

    @abstractmethod
    async def look(self, name: str) -> Sequence[DamageFinding]:
        """Examine one name. An entry that cannot be examined is a finding, too."""

    @abstractmethod
    async def repair(self, found: Sequence[DamageFinding]) -> Mapping[DamageFinding, str]:
        """Finish, take back or set aside the findings; return the result of each, in a few words.

        The store must be open for more than looking.

        Raises:
            StoreError: the repair stopped.

        """
