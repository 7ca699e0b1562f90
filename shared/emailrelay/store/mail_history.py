"""The history of a store: a record of each message that has left it, for some days.

The store writes a record when a message leaves: with the settlement, or right after it. The history
is not mail. It is not on stable storage, and trouble with it stops no settlement.

Guarantee: a settlement does not fail, and does not wait, because of the history.
Guarantee: the history takes about as much room as its bounds say, and nothing is kept for longer.
A crash between the settlement and the record may lose the record. A message that comes back after a
crash gets a second record when it leaves again. So an id may have no record, or several.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import EndedMessage, PastMessage


@dataclass(frozen=True, slots=True)
class HistoryBounds:
    """The most that a store keeps of its history. If either is 0, it keeps none."""

    days: int
    """Days (in UTC) beside the present one."""
    octets: int

    @property
    def off(self) -> bool:
        """True if nothing is kept."""
        return self.days <= 0 or self.octets <= 0


NO_HISTORY = HistoryBounds(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStep:
    """How far a search has come."""

    place: str
    """The file or the day that is searched now."""
    done: int
    """Octets, or other units."""
    total: int
    """0: unknown."""
    unread: str = ""
    """The reason why a part of the place was passed over; empty: none was."""


class MailHistory(ABC):
    """The history of one store."""

    @abstractmethod
    async def keep(self, bounds: HistoryBounds) -> None:
        """Set the bounds, for all users of the store; what is beyond them goes.

        Until the first call the store keeps no history.

        Raises:
            StoreError: it cannot be done now.

        """

    @abstractmethod
    async def bounds(self) -> HistoryBounds:
        """Return the bounds that were set last, by any user of the store.

        Raises:
            StoreError: they cannot be read now.

        """

    @abstractmethod
    def find(
        self, wanted: HistoryQuery, tell: Callable[[SearchStep], None] = lambda _step: None
    ) -> AsyncIterator[PastMessage]:
        """Yield the messages that match, newest end first. ``tell`` is called with the progress.

        The records of one day are in the order of their writing, which is nearly that of their
        ends. A damaged record is skipped, and ``tell`` is called for it.

        Raises:
            StoreError: the history cannot be read now.

        """

    @abstractmethod
    def ends(self, since: float) -> AsyncIterator[EndedMessage]:
        """Yield the ends of messages at or after ``since`` (seconds since 1970), in any order.

        This is quick: it is for counts, and reads no more than the beginnings of the records.

        Raises:
            StoreError: the history cannot be read now.

        """
