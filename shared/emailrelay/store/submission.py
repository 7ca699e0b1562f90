"""The store contract for the commands that programs start for every message.

These commands must start quickly, so they do not open a ``Store``, and this module imports little.
All calls block.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from emailrelay.dsn_request import DsnRequest
from emailrelay.envelope import Address
from emailrelay.errors import RelayError
from emailrelay.queue_id import QueueId


class SubmissionRefused(RelayError):
    """There is no such store, or it takes no mail from a command; the text says which."""

    temporary = False


class SubmissionForbidden(SubmissionRefused):
    """The user has no write access to the store, which others may have."""


class Submission(ABC):
    """A message that a local program brings. It ends with ``commit`` or ``discard``.

    Guarantee: when ``commit`` returns, the message is on stable storage and visible at the store's
        entrance, and only the users of the store can read it. Before that it is invisible.

    Each method raises OSError or StoreError if the store cannot do it now; only ``discard`` may
    follow.
    """

    id: QueueId
    path: str
    """The place of the content once it is committed, for the user to see."""

    @abstractmethod
    def write(self, pieces: Iterable[bytes]) -> None:
        """Write the content, whole."""

    @abstractmethod
    def commit(self, sender: Address, recipients: tuple[Address, ...], dsn: DsnRequest) -> None:
        """Make the message durable and visible."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing of the message; never raises."""
