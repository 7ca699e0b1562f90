"""The store contract: everything that a service or a command may do with mail.

States, and the transitions between them::

    draft ──commit──▶ UNFILTERED ──Pass──▶ READY ──Done──▶ gone
                        │  ▲ Defer          │  ▲ Defer
                        │  └── (the clock)  │  └── (the clock)
                        ├── Done (abandoned)│
                        ├── Fail ─▶ FAILED ◀┘ Fail
                        └── Hold ─▶ HELD   ◀── Hold
    FAILED, HELD ──retry──▶ the stage it came from;  any other ──fail──▶ FAILED

Guarantee: a draft is invisible. When ``commit`` returns, content, envelope and their names are on
    stable storage, at the place where the next opener looks for them. Leaving a draft without
    ``commit`` leaves nothing.
Guarantee: a committed message is in exactly one stage until it is delivered, abandoned by a filter,
    or deleted by the operator. A crash of any process at any point changes nothing about that.
Guarantee: at most one claim on a message exists at any time, over all processes.
Guarantee: a claim ends with one settlement. Falling out of its ``async with`` block settles
    nothing: the message is free again, at once if the process dies (in a store with leases, when
    the lease ends).
Guarantee: of a client that gives up waiting and a worker that answers exactly one succeeds, and the
    other obeys: a message whose client has given up is ordinary mail (FILTERED) or withdrawn
    (DELIVERED).
Guarantee: a recipient recorded as delivered is not delivered to again.
Guarantee: an entry that is not a message becomes FAILED with its reason, once. All others go on.
    DELIVERED mail whose client was not told 250 is withdrawn instead, whatever a power cut has left
    of it.
Guarantee: nothing is claimed whose settlement could not be recorded.
Guarantee: a clock that is set back holds no mail up.
Guarantee: the sender of a failed message is told once, whichever process dies (``store.failure``).

An event is a hint; a scan gives the truth. A store that loses every hint loses time, never mail.

A store need not have everything. It may refuse to be opened as configured, or to be verified
(StoreUnusable). It may not know its free room (``free``: None). It may ignore the hints of a
dispatcher (``dispatch``). It may have no directory: ``chooser.spool_at`` then gives None, and users
of the directory (its owner, its free space) go without.

All other modules of a store's contract: ``draft``, ``claim``, ``feed``, ``limits`` (routes),
``failure`` (notices), ``mail_history``, ``verification``, ``tokens`` (OAuth2) and ``submission``
(commands that start quickly).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from typing import Self

from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.journal import AdministratorWish, Entry, History
from emailrelay.journal import read as read_journal
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.claim import Claim
from emailrelay.store.draft import Draft
from emailrelay.store.failure import FailedMessage
from emailrelay.store.feed import Feed
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits
from emailrelay.store.mail_history import MailHistory
from emailrelay.store.queue_view import Listed as Listed  # noqa: PLC0414 - part of the contract
from emailrelay.store.verification import Verification

CHUNK = 256 * 1024
"""Octets of content that are read or written at once."""


class Store(ABC):
    """Mail kept safely. Entering the ``async with`` block opens and recovers, leaving it closes."""

    @abstractmethod
    async def __aenter__(self) -> Self:
        """Create what is missing, finish or take back what dead processes had begun.

        Raises:
            StoreUnusable: the store cannot be used as configured.
            StoreError: it cannot be used now.

        """

    @abstractmethod
    async def __aexit__(self, *_: object) -> None:
        """Finish commits under way and close."""

    @abstractmethod
    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        """Begin a message. ``message`` is its id if another store has given it one.

        Raises:
            StoreError: no room, or any I/O error.

        """

    def draft_for_delivery(self, envelope: Envelope) -> Draft:
        """Begin a message whose client probably waits for the delivery (``Ack.DELIVERED``).

        The default suits a store that keeps such mail as any other.

        Raises:
            StoreError: no room, or any I/O error.

        """
        return self.draft(envelope)

    @abstractmethod
    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,
    ) -> None:
        """Take over a message of another store at HELD, under its own id (``store.move``).

        ``entries`` are its journal, whose last line is ``Moving``. A message that is here already
        stays as it is. ``once``: a message that has been here and has left does not come back, if
        the store still knows of it.

        Raises:
            StoreError: it is not here.

        """

    def free(self) -> int | None:
        """Return the octets of free room, without waiting. None: unknown; this is the default."""
        return None

    def unavailable(self) -> StoreError | None:
        """Return why no message can be begun now, without waiting. None: it can, or it is unknown.

        This default suits a store that is never unavailable.
        """
        return None

    def waiting(self, stage: Stage) -> int | None:  # noqa: ARG002 - see below
        """Return how many messages wait at a stage as this process knows, without looking.

        None: this process does not watch the stage, or the store counts none; this is the default.
        """
        return None

    @abstractmethod
    def limits(self, route: str) -> RouteLimits:
        """Return the limits that all processes on this store share, of the route of this name."""

    @abstractmethod
    async def set_entrance(self, stage: Stage) -> None:
        """Set the stage of mail that no receiver brings: with filters UNFILTERED, else READY.

        Raises:
            StoreError: it cannot be noted.

        """

    @abstractmethod
    async def entrance(self) -> Stage:
        """Return the stage of mail that no receiver brings; READY until one is set."""

    @abstractmethod
    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> Feed:
        """Watch a stage. With ``hints`` a dispatcher watches it; see ``dispatch``."""

    async def dispatch(self, stage: Stage, hints: HintChannel, woken: asyncio.Event) -> None:  # noqa: ARG002 - see below
        """Serve a pool of workers, which have feeds with the same ``hints``, until cancelled.

        Each time ``woken`` is set, all deferred messages become due, as by ``Feed.wake``, and the
        event is cleared. A store in which one process looks for due messages sends them to
        ``hints``.

        This default suits a store whose feeds find their messages by themselves and ignore
        ``hints``, and whose ``Feed.wake`` acts for all feeds of the stage.
        """
        async with self.feed(stage) as feed:
            while True:
                await woken.wait()
                woken.clear()
                feed.wake()

    @abstractmethod
    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """Claim one message. None: it is gone, claimed already, or (``due_only``) not due."""

    @abstractmethod
    def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """List the messages at these stages, in any order, without reading their envelopes.

        An entry that is not a message, or that this user may not read, is listed like the others.

        Raises:
            StoreError: the store cannot be read now.

        """

    async def describe(self, message: QueueId) -> tuple[Stage, Envelope, History] | None:
        """Read a message's envelope and history as ``journal`` does.

        Raises:
            DamagedMessage: see ``journal``.

        """
        found = await self.journal(message)
        return None if found is None else (found[0], found[1], read_journal(found[2]))

    @abstractmethod
    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[Entry]] | None:
        """Read a message's envelope and journal without a claim. None: there is no such message.

        Raises:
            DamagedMessage: the entry is not a message, or this user may not read it.

        """

    @abstractmethod
    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """Do with a message what the operator wishes; with a claimed one when its claim ends.

        HOLD sets it aside. RETRY makes a failed, held or deferred message due now, its schedule and
        age starting again. FAIL gives it up, so that its sender is told. DELETE deletes it. Rules:
        ``transition.after_wish``.

        False: there is no such message.

        Raises:
            StoreError: it could not be done now.

        """

    @abstractmethod
    async def flush(self, message: QueueId) -> bool:
        """Make a deferred message due now; schedule and age go on. False: it is not deferred.

        Raises:
            StoreError: it could not be done now.

        """

    async def hold(self, message: QueueId) -> bool:
        """Set a message aside; see ``wish``."""
        return await self.wish(message, AdministratorWish.HOLD)

    async def retry(self, message: QueueId) -> bool:
        """Make a message due now, with a new schedule; see ``wish``."""
        return await self.wish(message, AdministratorWish.RETRY)

    async def fail(self, message: QueueId) -> bool:
        """Give a message up; see ``wish``."""
        return await self.wish(message, AdministratorWish.FAIL)

    async def delete(self, message: QueueId) -> bool:
        """Delete a message; see ``wish``."""
        return await self.wish(message, AdministratorWish.DELETE)

    @abstractmethod
    async def failure(self, message: QueueId) -> FailedMessage | None:
        """Take the sole right to notify the sender of a FAILED message. None: not FAILED, or taken.

        Raises:
            StoreError: it cannot be read now.

        """

    @abstractmethod
    def history(self) -> MailHistory:
        """Return the records of the messages that have left the store."""

    def verification(self, *, contents: bool) -> Verification:  # noqa: ARG002 - it refuses
        """Prepare a search for damage. With ``contents`` it compares the checksum of each content.

        Raises:
            StoreUnusable: this kind of store cannot be verified; this is the default.

        """
        raise StoreUnusable(f"{type(self).__name__}: this kind of store cannot be verified")
