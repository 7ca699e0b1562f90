"""The sole right to work on a message that its receiver has handed over, and that has no files.

It becomes files when something has to outlive this process, or when client filters need a copy.
"""

import asyncio
import os
import zlib
from collections.abc import AsyncIterator
from typing import Protocol

from emailrelay import envelope_format, journal, journal_format, linux
from emailrelay.ack import Ack
from emailrelay.envelope_format import EnvelopeFile
from emailrelay.errors import DamagedMessage, StoreError
from emailrelay.events.delivery import Withdrawn
from emailrelay.journal import Entry
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.running_loop import running_loop
from emailrelay.settlement import Done, Settlement
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.claim import Claim, WorkCopy
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.durable.draft_files import DraftFiles
from emailrelay.store.spool.message import delivery_wait, moves
from emailrelay.store.spool.message.claim import SpoolClaim
from emailrelay.store.spool.message.delivery_wait import DeliveryWait
from emailrelay.store.spool.message.doubt import Doubt, has_delivered
from emailrelay.store.spool.message.open_content import OpenContent
from emailrelay.store.spool.message.remembering import remember
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.wake.package import Package
from emailrelay.store.transition import Change

_TRY_AGAIN = 1.0
_SOON = 0.05
_PATIENCE = 5.0
"""Seconds for which a receiver may leave an answer in its full socket."""


class Giver(Protocol):
    """The connection of the receiver that has handed a message over."""

    @property
    def lost(self) -> bool:
        """True: the connection has ended, and the receiver has its messages back."""
        ...

    def done(self, message: QueueId) -> None:
        """Note the end of the work on a message."""
        ...

    def give_back(self, message: QueueId) -> None:
        """Send a message back unsettled."""
        ...


def opened(spool: Spool, package: Package, giver: Giver) -> "HandedClaim | None":
    """Return the claim of a message; None: it is damaged, or no client waits for its delivery."""
    try:
        file = envelope_format.parse(package.envelope)
    except DamagedMessage:
        return None
    entries = journal_format.parse(file.tail)
    claim = HandedClaim(spool, package, file, entries, giver)
    history, content = claim.history, package.content
    whole = (history.length, history.crc32) == (len(content), zlib.crc32(content))
    return claim if whole and history.ack is Ack.DELIVERED else None


class HandedClaim(Claim):
    """See ``Claim``."""

    stage = Stage.READY
    ack = Ack.DELIVERED

    def __init__(
        self,
        spool: Spool,
        package: Package,
        file: EnvelopeFile,
        entries: list[Entry],
        giver: Giver,
    ) -> None:
        self.id = package.message
        self.envelope, self.history = file.envelope, journal.read(entries)
        self.size = len(package.content)
        self._spool, self._package, self._entries, self._giver = spool, package, entries, giver
        self._wait = DeliveryWait(spool, self.id)
        self._doubt = Doubt(spool, self.id)
        self._files: SpoolClaim | None = None
        """The claim on the files that it has become."""
        self._open = True
        self._settled = False

    def is_awaited(self) -> bool:
        """Tell if the client still waits."""
        return self._wait.stands()

    async def content(self) -> AsyncIterator[bytes]:
        """See ``Claim.content``."""
        yield self._package.content

    async def work_copy(self, suffix: str) -> WorkCopy:
        """See ``Claim.work_copy``."""
        if self._files is None:
            if self._giver.lost:
                raise StoreError(f"copy {self.id} for filters", "its receiver has it again")
            try:
                self._files = self._as_files()
            except OSError as error:
                raise StoreError(f"copy {self.id} for filters", error) from error
        return await self._files.work_copy(suffix)

    def touched(self) -> bool:
        """See ``Claim.touched``."""
        return self._files is not None and self._files.touched()

    async def before_dot(self, peer: str) -> bool:
        """See ``Claim.before_dot``."""
        if self._files is not None:
            return await self._files.before_dot(peer)
        first = self._doubt.begin(peer)
        # After the mark: a receiver that gives up later finds that.
        stands = not self._giver.lost and self._wait.stands()
        if first and not stands:
            self._doubt.end()
        return stands

    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        """See ``Claim.settle``. Nothing is written unless the message stays."""
        try:
            if self._files is None and _stays(settlement, answer):
                self._files = await self._surely_as_files()
            if self._files is not None:
                return await self._files.settle(settlement, answer)
            self._settled = True  # it ends here: it is never given back
            heard = await self._end(settlement, answer)
            if answer is not None:
                await self._answer_leaves(answer)
        except asyncio.CancelledError:
            # Its receiver makes the files when this process ends, and the next opener of the spool
            # names the duplicate.
            if has_delivered(settlement) and self._doubt.leave():
                self._settled = True
            raise
        except OSError as error:
            # A message that no server has accepted goes back, and is tried again.
            self._settled = has_delivered(settlement)
            raise StoreError(f"settle {self.id}", error) from error
        finally:
            await self.release()
        return heard

    async def _end(self, settlement: Settlement, answer: Reply | None) -> bool:
        """Answer the client; the message ends here."""
        if answer is None:
            delivery_wait.forget(self._spool, self.id)
            self._remember(transition.gone(MessageEnd.WITHDRAWN))
            return True
        if not answer.accepted:
            self._remember(transition.after_refusal(settlement))
            await self._wait.tell(answer)
            return True
        if isinstance(settlement, Done):
            self._remember(transition.gone(settlement.end, settlement.attempt))
        # A receiver whose connection has ended has the message again.
        return await self._wait.tell(answer) and not self._giver.lost

    async def _answer_leaves(self, answer: Reply) -> None:
        """Wait until the answer has left this process: as long, the message is in doubt.

        A receiver that hangs must not hold the forwarder's tasks.
        """
        clock = running_loop().time
        over = clock() + _PATIENCE
        while self._wait.answer_waits():
            if clock() >= over:
                reason = "its receiver takes no answers from its socket; it may hang"
                self._spool.trouble(f"answer the client of {self.id}", reason)
                if self._wait.leave_in_file(answer):
                    return
                over = clock() + _PATIENCE
            await asyncio.sleep(_SOON)

    def withdraw(self) -> None:
        """End the message: its client has gone, and its receiver has forgotten it."""
        try:
            delivery_wait.refuse(self._spool, self.id)
        except OSError as error:
            self._spool.trouble(f"withdraw {self.id}", error)
        self._remember(transition.gone(MessageEnd.WITHDRAWN))
        self._spool.report(Withdrawn(id=self.id))
        self._open = False
        self._giver.done(self.id)

    def _remember(self, change: Change) -> None:
        remember(self._spool, self, self._entries, change)

    async def _surely_as_files(self) -> SpoolClaim:
        """Become files, however long the disk refuses: some recipients have the message already."""
        while True:
            try:
                return self._as_files()
            except OSError as error:
                self._spool.trouble(f"store {self.id}", error)
            await asyncio.sleep(_TRY_AGAIN)

    def _as_files(self) -> SpoolClaim:
        """Make the files of the message, unsynced, and keep the sole right to work on it."""
        spool, content = self._spool, self._package.content
        pair = DraftFiles(spool.directories.drafts, lambda: self.id)
        reading: int | None = None
        try:
            pair.write(content)
            pair.seal_as(self._package.envelope)
            pair.mark_not_vouched_for()
            reading = os.open(linux.path_of(pair.content), os.O_RDONLY | os.O_CLOEXEC)
            pair.show(spool.root, self.stage)
        except OSError:
            if reading is not None:
                os.close(reading)
            pair.remove()
            files.remove(spool.content(self.id))
            pair.close()
            raise
        at = spool.envelope(self.id, self.stage)
        envelope = pair.hand_over_lock()
        locked = moves.locked(spool, self.id, self.stage, at, (envelope, os.fstat(envelope)))
        locked.wait = self._wait
        return SpoolClaim(
            locked,
            self.envelope,
            self.history,
            self._entries,
            content=OpenContent(reading, self.size, content),
            ack=self.ack,
            read=len(self._package.envelope),
            doubt=self._doubt,
        )

    async def release(self) -> None:
        """See ``Claim.release``. The receiver has the message again, or it is in its files."""
        if not self._open:
            return
        self._open = False
        self._doubt.end()
        if self._files is not None:
            await self._files.release()
        if self._settled or self._files is not None:
            self._giver.done(self.id)
        else:
            self._giver.give_back(self.id)


def _stays(settlement: Settlement, answer: Reply | None) -> bool:
    """Tell if something of the message is left after a settlement."""
    return (answer is None or answer.accepted) and not isinstance(settlement, Done)
