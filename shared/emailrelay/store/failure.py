"""The notice to the sender of a failed message.

Guarantee: at most one process notifies the sender of a message at any time.
Guarantee: ``prepare`` stores the notice and the record that the sender is told, both or neither,
    for all messages that the notice is about. From there the notice leaves once: ``relay`` makes it
    a message of the store exactly once; a local agent gets it at least once, each time with the
    same id.
Guarantee: ``remove`` removes failed messages only, for the right to it ends with that stage.
Guarantee: a notice to be relayed whose process died after ``prepare`` is relayed by the next opener
    of the store. A notice for a local agent waits for the next ``Store.failure``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from emailrelay import message_id
from emailrelay.envelope import NULL_SENDER, Address, Body, Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId


class PreparedNotice(NamedTuple):
    """A notice that is recorded and has not left yet."""

    id: QueueId
    """The id that it has as a message."""
    text: bytes
    """Its content."""


class FailedMessage(ABC):
    """The sole right to notify the sender of a failed message. An ``async with`` block.

    An operator's wish that came meanwhile is carried out when the block ends. Each method raises
    StoreError if the store cannot do it now; the next notifier goes on from there.
    """

    id: QueueId
    envelope: Envelope | None
    """None: it cannot be read, so the sender is unknown."""
    history: History
    """``notified``: the sender has a notice, or gets none."""

    @abstractmethod
    async def beginning(self, most: int) -> bytes:
        """Return the first octets of the content, at most ``most``; b"" if it is missing."""

    @abstractmethod
    async def record(self, *, told: bool = False) -> None:
        """Record, on stable storage, that the sender gets no notice.

        ``told``: the sender needs none, so the message need not be kept for that.
        """

    @abstractmethod
    def beside(self, other: "FailedMessage") -> bool:
        """Return whether the same store has both, so that one notice can be about both."""

    @abstractmethod
    async def prepare(
        self,
        text: Callable[[QueueId], bytes],
        *,
        local: bool,
        to: Sequence[Address] = (),
        also: "Sequence[FailedMessage]" = (),
    ) -> PreparedNotice:
        """Store a notice, and record that the sender is told.

        Args:
            text: makes its content for the id it gets.
            local: a local agent gets it.
            to: its recipients; empty: the message's sender.
            also: other messages ``beside`` this one that a notice to be relayed is about.

        """

    @abstractmethod
    async def prepared(self) -> PreparedNotice | None:
        """Return the notice that an earlier process prepared. None: it has left, or never was."""

    @abstractmethod
    async def relay(self) -> None:
        """Make the prepared notice a message at the store's entrance, unless it is one already."""

    @abstractmethod
    async def delivered(self) -> None:
        """Forget the prepared notice: the local agent has it."""

    @abstractmethod
    async def remove(self) -> None:
        """Remove the failed message from the store, and give the right back."""

    @abstractmethod
    async def release(self) -> None:
        """Carry out the operator's wish, and give the right back; nothing after ``remove``."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Give the right back."""
        await self.release()


def notice_depth(failed: Sequence[FailedMessage]) -> int:
    """Return ``Accepted.notice`` of a notice about these messages.

    A message of the null sender is a notice, if not of this relay.
    """

    def depth(failure: FailedMessage) -> int:
        envelope = failure.envelope
        is_notice = envelope is not None and envelope.sender == NULL_SENDER
        return max(failure.history.notice_depth, 1 if is_notice else 0)

    return 1 + max(map(depth, failed))


def notice_envelope(to: Sequence[Address], text: bytes) -> Envelope:
    """Return the envelope of a notice: from the null sender (RFC 3464 section 2)."""
    return Envelope(
        sender=NULL_SENDER,
        to_remote=tuple(to),
        body=Body.SEVEN_BIT if text.isascii() else Body.EIGHT_BIT,
        utf8=not all(address.isascii() for address in to),
        message_id=message_id.of_content(text),
    )
