"""The claim on a message, which gives the sole right to work on it (``base``)."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Settlement
from emailrelay.stage import Stage


@dataclass(frozen=True, slots=True)
class WorkCopy:
    """A private copy of a message for programs to work on, on local disk.

    Its two files have absolute paths, in a directory that holds nothing else. Programs may edit,
    replace or delete both, and put complete pairs of new messages beside them.
    """

    content_path: str
    envelope_path: str

    @property
    def content(self) -> Path:
        """The path of the content. Making a ``Path`` costs more than a file, so few filters do."""
        return Path(self.content_path)

    @property
    def envelope(self) -> Path:
        """The path of the envelope."""
        return Path(self.envelope_path)


class AtHand(NamedTuple):
    """A small message that filters can read before there is a work copy."""

    content: bytes
    copy: Callable[[], WorkCopy]
    """Makes the work copy at once; raises as ``Claim.work_copy``."""
    replace: Callable[[Envelope, bytes], None]
    """Takes the envelope and the content that a ``Pass`` makes the message, without a work copy."""


class Claim(ABC):
    """The sole right to work on one message, in an ``async with`` block. One settlement ends it."""

    id: QueueId
    stage: Stage
    envelope: Envelope
    history: History
    size: int
    """Octets of content."""
    ack: Ack
    """The event that a client waits for at this moment; STORED: no client waits."""

    @abstractmethod
    def content(self) -> AsyncIterator[bytes]:
        """Give the content from its beginning, in chunks of at most ``CHUNK`` octets.

        Raises:
            StoreError: it cannot be read now.

        """

    @abstractmethod
    async def work_copy(self, suffix: str) -> WorkCopy:
        """Make a fresh private copy, replacing an earlier one; ``suffix`` ends the envelope's name.

        It goes when the claim ends; a ``Pass`` makes it the message first. Pairs of new messages
        that programs put beside it are taken in, whatever the settlement.

        Raises:
            StoreError: no room, or it cannot be read now.

        """

    def at_hand(self, suffix: str) -> AtHand | None:  # noqa: ARG002 - for other stores
        """Return a small message, for filters that may need no copy; None: use ``work_copy``."""
        return None

    @abstractmethod
    def touched(self) -> bool:
        """Return whether the filters may have changed the message. Ask after all programs ended.

        If not, a ``Pass`` leaves the message as it is, whatever becomes of the copy afterwards.
        """

    @abstractmethod
    async def before_dot(self, peer: str) -> bool:
        """Ask to send the final dot to ``peer`` now, and note that it is on its way.

        False: DELIVERED mail whose client has gone; settle it with ``Done``.

        Costs no sync. If this process dies before the settlement, the next opener of the store
        reports a possible duplicate.

        Raises:
            StoreError: this process may have lost the claim (a lease not renewed in time): no dot.

        """

    @abstractmethod
    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        """End the claim. When this returns, all that must survive a power cut is on stable storage.

        ``answer`` is for a client that waits; without one it is ignored. A positive answer goes
        with the settlement. A negative one takes its place: the client knows, so nothing is kept.

        False: the positive answer to mail with ``Ack.DELIVERED`` came too late. The client has
        given up, and will send the message again.

        Raises:
            StoreError: the settlement could not be recorded; the message may be worked on again.

        """

    @abstractmethod
    async def release(self) -> None:
        """Give the message back unsettled; does nothing after ``settle``."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give back what was not settled."""
        await self.release()
