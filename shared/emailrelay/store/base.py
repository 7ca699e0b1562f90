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
Guarantee: an entry that is no message becomes FAILED with its reason, once, and all others go on.
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

All other modules of a store's contract: ``limits`` (routes), ``failure`` (notices),
``mail_history``, ``verification``, ``tokens`` (OAuth2) and ``submission`` (commands that start
quickly).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError, StoreUnusable
from emailrelay.journal import AdministratorWish, Entry, History
from emailrelay.journal import read as read_journal
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.settlement import Settlement
from emailrelay.stage import Stage
from emailrelay.store.failure import FailedMessage
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits
from emailrelay.store.mail_history import MailHistory
from emailrelay.store.queue_view import Listed as Listed  # noqa: PLC0414 - part of the contract
from emailrelay.store.verification import Verification

CHUNK = 256 * 1024
"""Octets of content that are read or written at once."""


class Draft(ABC):
    """A message being written. Leaving its ``async with`` block without ``commit`` discards it."""

    id: QueueId

    @abstractmethod
    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """Append to the content. False: await ``drain`` before the next ``write``.

        The caller may change the chunk's octets afterwards. ``commit`` includes the last ``drain``.

        Raises:
            StoreError: disk full or any other I/O error; the draft can only be left.

        """

    async def drain(self) -> None:  # noqa: B027 - a default
        """Wait until the store can take more content. The default suits stores that always can.

        Raises:
            StoreError: see ``write``.

        """

    @abstractmethod
    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """Make the message durable and visible at ``stage``: UNFILTERED or READY.

        May be cancelled: the message then either is committed or leaves nothing. With an ``ack``
        other than STORED the client's answer follows from ``answer``. FILTERED at READY is taken
        for STORED: there are no filters to wait for. DELIVERED mail need not be on stable storage,
        for its client has no 250 yet. ``session`` names the client's session, whose messages share
        a connection to the next server. ``dsn`` holds the client's requests.

        Raises:
            StoreError: it is not committed, and leaves nothing that the store can still remove.

        """

    @abstractmethod
    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """Wait for the answer to a message committed with an ``ack`` other than STORED.

        It waits at most ``within`` seconds, and not once the client has ``gone``.

        None: there is no answer, and none will come. The message then is ordinary mail (FILTERED)
        or withdrawn (DELIVERED). If its final dot is on the way, log and journal name a possible
        duplicate. If the store cannot be asked, it names one as well, and the reply is a 451.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Leave nothing of an uncommitted draft; give up waiting for an answer."""

    async def __aenter__(self) -> Self:
        """Begin the block."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Discard what was not committed."""
        await self.discard()


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


class Feed(ABC):
    """The messages due at one stage, oldest first. The end of its block ends the watch."""

    @abstractmethod
    async def claim(self) -> Claim:
        """Wait for the next message that is due, and claim it.

        Any number of tasks may wait at once. A cancelled call claims nothing.

        Raises:
            StoreError: the store cannot be asked now.

        """

    @abstractmethod
    def wake(self) -> None:
        """Make every deferred message due now (the operator's flush, a network that came back)."""

    def all_heard(self) -> bool:
        """Repeat announcements that a busy feed missed; return whether all feeds know all now.

        This default suits a store that needs no announcements.
        """
        return True

    def look(self) -> None:  # noqa: B027 - a default
        """Have every feed of the store scan all of it soon: mail came in unannounced.

        This default suits a store that mail cannot enter unannounced.
        """

    async def __aenter__(self) -> Self:
        """Begin the watch, then scan."""
        return self

    async def __aexit__(  # noqa: B027 - a default
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the watch."""


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
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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

        This default suits a store that is never away.
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

        An entry that is no message, or that this user may not read, is listed like the others.

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
            DamagedMessage: the entry is no message, or this user may not read it.

        """

    @abstractmethod
    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """Do with a message what the operator wishes; with a claimed one when its claim ends.

        HOLD sets it aside. RETRY makes a failed, held or deferred message due now, its schedule and
        age starting anew. FAIL gives it up, so that its sender is told. DELETE deletes it. Rules:
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
        """Take the sole right to tell the sender of a FAILED message. None: not FAILED, or taken.

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
