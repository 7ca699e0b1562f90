"""The store contract: everything that a service may do with mail.

States, and who moves a message from one to the next::

    draft ──commit──▶ UNFILTERED ──Pass──▶ READY ──Done──▶ gone
                        │  ▲ Defer          │  ▲ Defer
                        │  └── (the clock)  │  └── (the clock)
                        ├── Done (abandoned)│
                        ├── Fail ─▶ FAILED ◀┘ Fail
                        └── Hold ─▶ HELD   ◀── Hold
    FAILED, HELD ──retry──▶ the stage it came from;  any other ──fail──▶ FAILED

Guarantee: nobody sees a draft; when ``commit`` returns, content, envelope and their names are on
    stable storage, at the place where the next opener looks for them. Leaving a draft without ``commit``
    leaves nothing.
Guarantee: what was committed is in exactly one stage until it is delivered, abandoned by a filter, or
    deleted by the operator. A crash of any process at any point changes nothing about that.
Guarantee: at most one claim on a message exists at any time, over all processes.
Guarantee: a claim ends with one settlement. Falling out of its ``async with`` block settles nothing:
    the message is free again, at once if the process dies (in a store with leases, when the lease ends).
Guarantee: of a client who gives up waiting and a worker who answers exactly one succeeds, and the other
    obeys: a message whose client has given up is ordinary mail (FILTERED) or withdrawn (DELIVERED).
Guarantee: a recipient recorded as delivered is not delivered to again.
Guarantee: an entry that is no message becomes FAILED with its reason, once, and all others go on.
    DELIVERED mail whose client was not told 250 is withdrawn instead, whatever a power cut has left of it.
Guarantee: nothing is claimed whose settlement could not be recorded.

An event is a hint; the truth is a scan. A store loses no mail when every hint is lost, only time.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Settlement
from emailrelay.stage import Stage
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits

CHUNK = 256 * 1024
"""Octets of content that are read or written at once."""


class Draft(ABC):
    """A message being written. An ``async with`` block; leaving it without ``commit`` discards it."""

    id: QueueId

    @abstractmethod
    async def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append to the content.

        Raises:
            StoreError: disk full or any other I/O error; the draft can only be left.

        """

    def write_now(self, chunk: bytes | bytearray | memoryview) -> bool:  # noqa: ARG002 - this one always waits
        """Do what ``write`` does, if nothing need be waited for; False: nothing was done.

        Raises:
            StoreError: see ``write``.

        """
        return False

    @abstractmethod
    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """Make the message durable and visible at ``stage``: UNFILTERED or READY.

        May be cancelled: the message then either is committed or leaves nothing. With an ``ack`` other
        than STORED the client's answer follows from ``answer``; DELIVERED mail, which nobody has
        vouched for before that, is not synced. ``session`` names the client's session, whose messages
        share a connection to the next server. ``dsn`` is what the client wants to be told.

        Raises:
            StoreError: it is not committed, and leaves nothing that the disk lets us remove.

        """

    @abstractmethod
    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """Wait for what becomes of a message committed with an ``ack`` to wait for.

        At most ``within`` seconds, and not once the client has ``gone``.

        None: nobody has answered, and nobody will. The message then is ordinary mail (FILTERED) or
        withdrawn (DELIVERED).
        """

    @abstractmethod
    async def discard(self) -> None:
        """Leave nothing of an uncommitted draft; give up waiting for an answer that has not come."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Discard what was not committed."""
        await self.discard()


@dataclass(frozen=True, slots=True)
class WorkCopy:
    """A private copy of a message for programs to work on, on local disk.

    ``content`` and ``envelope`` are absolute paths in a directory that holds nothing else. Programs may
    edit, replace or delete both, and put complete pairs of new messages beside them.
    """

    content: Path
    envelope: Path


class Claim(ABC):
    """The sole right to work on one message. An ``async with`` block that ends with one settlement."""

    id: QueueId
    stage: Stage
    envelope: Envelope
    history: History
    size: int
    """Octets of content."""
    ack: Ack
    """What a client waits for at this moment; STORED: nobody waits."""

    @abstractmethod
    def wanted(self) -> bool:
        """Tell whether the message is still to be delivered; asked immediately before the final dot.

        False for DELIVERED mail whose client has gone: settle it with ``Done``.
        """

    @abstractmethod
    def content(self) -> AsyncIterator[bytes]:
        """Give the content from its beginning, in chunks of at most ``CHUNK`` octets.

        Raises:
            StoreError: it cannot be read now.

        """

    @abstractmethod
    async def work_copy(self, suffix: str) -> WorkCopy:
        """Make a fresh private copy, replacing an earlier one; ``suffix`` ends the envelope's name.

        It goes when the claim ends; a ``Pass`` makes it the message first. Pairs of new messages that
        programs put beside it are taken in whatever the settlement.

        Raises:
            StoreError: no room, or it cannot be read now.

        """

    @abstractmethod
    def touched(self) -> bool:
        """Tell, once all programs have ended, whether the work copy may be anything but what was copied.

        If not, a ``Pass`` leaves the message as it is, whatever becomes of the copy afterwards.
        """

    @abstractmethod
    def in_doubt(self, peer: str) -> None:
        """Note that the final dot is about to be sent to ``peer``.

        Costs no sync. If this process dies before the settlement, the next opener of the store reports
        a possible duplicate.
        """

    @abstractmethod
    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        """End the claim. When this returns, what must survive a power cut is on stable storage.

        ``answer`` is for a client who waits; without one waiting it is ignored. A positive answer goes
        with the settlement. A negative one takes its place: the client knows, so nothing is kept.

        False: the positive answer to mail with ``Ack.DELIVERED`` reached nobody. The client has given
        up, and will send the message again.

        Raises:
            StoreError: the settlement could not be recorded; the message may be worked on again.

        """

    @abstractmethod
    async def release(self) -> None:
        """Give the message back unsettled; does nothing after ``settle``."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give back what was not settled."""
        await self.release()


class Feed(ABC):
    """What there is to do at one stage, oldest first. An ``async with`` block: leaving it ends the watch."""

    @abstractmethod
    async def claim(self) -> Claim:
        """Wait for the next message that is due, and claim it. Any number of tasks may wait at once."""

    @abstractmethod
    def wake(self) -> None:
        """Make every deferred message due now (the operator's flush, a network that came back)."""

    @abstractmethod
    def all_heard(self) -> bool:
        """Announce again what a busy feed could not hear; return whether all feeds have heard all now."""

    @abstractmethod
    def look(self) -> None:
        """Have every feed of the store look at all of it soon: somebody put mail there unheard."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Arm the watch, then scan."""

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A message as a listing shows it."""

    id: QueueId
    stage: Stage
    since: float
    """Modification time (seconds since 1970): for a deferred message, the hint of its next try."""
    size: int
    """Octets of content; 0 if it is missing."""


class Store(ABC):
    """Mail kept safely. An ``async with`` block: entering it opens and recovers, leaving it closes."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Create what is missing, finish or take back what dead processes had begun.

        Raises:
            StoreUnusable: the store cannot be used as configured.
            StoreError: it cannot be used now.

        """

    @abstractmethod
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish commits under way and close."""

    @abstractmethod
    def draft(self, envelope: Envelope) -> Draft:
        """Begin a message.

        Raises:
            StoreError: no room, or any I/O error.

        """

    @abstractmethod
    def free(self) -> int | None:
        """Tell how many octets there is room for, by one quick system call; None: there is no saying."""

    @abstractmethod
    def limits(self, route: str) -> RouteLimits:
        """Give what all processes on this store share of a route, by its name."""

    @abstractmethod
    async def set_entrance(self, stage: Stage) -> None:
        """Say where mail enters that no receiver brings: UNFILTERED if filters come first, else READY.

        Raises:
            StoreError: it cannot be noted.

        """

    @abstractmethod
    async def entrance(self) -> Stage:
        """Tell where mail enters that no receiver brings; READY until somebody has said."""

    @abstractmethod
    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> Feed:
        """Watch a stage. With ``hints``, take what a dispatcher sends instead of watching."""

    @abstractmethod
    async def dispatch(self, stage: Stage, hints: HintChannel, woken: asyncio.Event) -> None:
        """Watch a stage for a pool of workers and send its due messages to ``hints``, for ever.

        Each time ``woken`` is set, all deferred messages become due, as by ``Feed.wake``, and the event
        is cleared.
        """

    @abstractmethod
    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """Claim one message, or return None: gone, claimed by another, or (``due_only``) not due."""

    @abstractmethod
    def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """List the messages at these stages by reading names alone, in no particular order.

        An entry that is no message, or that nobody may read, is listed like the others.
        """

    @abstractmethod
    async def describe(self, message: QueueId) -> tuple[Stage, Envelope, History] | None:
        """Read one message's envelope and history without claiming it. None: there is no such message.

        Raises:
            DamagedMessage: the entry is no message, or this user may not read it.

        """

    @abstractmethod
    async def hold(self, message: QueueId) -> bool:
        """Set a message aside; a claimed one when its claim ends. False: there is no such message."""

    @abstractmethod
    async def retry(self, message: QueueId) -> bool:
        """Make a failed, held or deferred message due now, its schedule and age starting anew."""

    @abstractmethod
    async def flush(self, message: QueueId) -> bool:
        """Make a deferred message due now, its schedule and age going on. False: it is not deferred."""

    @abstractmethod
    async def fail(self, message: QueueId) -> bool:
        """Give a message up, so that its sender is told; a claimed one when its claim ends."""

    @abstractmethod
    async def delete(self, message: QueueId) -> bool:
        """Delete a message; a claimed one when its claim ends."""
