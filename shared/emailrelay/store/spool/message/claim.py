"""The sole right to work on one message: the kernel's lock on its envelope.

A lock dies with its process, needs no file of its own, and taking it leaves no event behind.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from emailrelay import journal, journal_format
from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.journal import AdministratorWish, Attempt, Entry, History
from emailrelay.message_end import MessageEnd
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.claim import AtHand, Claim, WorkCopy
from emailrelay.store.spool.disk import file_octets, files, locks
from emailrelay.store.spool.disk.threads import in_thread
from emailrelay.store.spool.durable.durability import Durability
from emailrelay.store.spool.message import adoption, delivery_wait, moves, open_content, wishes
from emailrelay.store.spool.message.added_messages import AddedMessages
from emailrelay.store.spool.message.adoption import Replacement
from emailrelay.store.spool.message.doubt import Doubt, has_delivered
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.open_content import SMALL, OpenContent
from emailrelay.store.spool.message.remembering import remember
from emailrelay.store.spool.message.work_copy import CopySource, SpoolCopy, copied, make_copy
from emailrelay.store.transition import Change

LOOK_AGAIN_AT_TROUBLE = 60.0
"""Seconds until a message that could not be claimed or settled is looked at again."""
_TRY_AGAIN = 1.0

_T = TypeVar("_T")


class SpoolClaim(Claim):
    """See ``Claim``."""

    def __init__(
        self,
        locked: Locked,
        envelope: Envelope,
        history: History,
        entries: Sequence[Entry],
        *,
        content: OpenContent,
        ack: Ack,
        read: int,
        doubt: Doubt | None = None,
    ) -> None:
        """Take over the lock and the open content; ``read`` octets of the envelope are known.

        ``doubt``: that of a claim that became this one.
        """
        self.id, self.stage = locked.id, locked.stage
        self.envelope, self.history, self.size, self.ack = envelope, history, content.size, ack
        self._entries = entries
        self._locked, self._spool = locked, locked.spool
        self._content, self._octets = content.descriptor, content.octets
        self._read = read
        self._copy: SpoolCopy | None = None
        self._added: AddedMessages | None = None
        self._touched: bool | None = None
        self._replacement: Replacement | None = None
        self._doubt = doubt or Doubt(locked.spool, locked.id)
        self._since = time.monotonic()
        self._lasting = ack is not Ack.DELIVERED
        """False: its end needs no record: if it comes back after a power cut, it is withdrawn."""
        self._open = True
        self._handed_over = False
        self._settled = False
        self._put_off = False
        """True: it is not announced when it is given back."""

    async def content(self) -> AsyncIterator[bytes]:
        """See ``Claim.content``. One open file throughout, whatever happens to its name."""
        if self._octets is not None:
            yield self._octets
            return
        content, at = self._content, self._locked.content
        async for chunk in open_content.chunks(content, self.size, at, self.history):
            yield chunk

    async def work_copy(self, suffix: str) -> WorkCopy:
        """See ``Claim.work_copy``."""
        try:
            self._copy = await copied(self._locked, self._source, suffix)
        except OSError as error:
            raise StoreError(f"copy {self.id} for filters", error) from error
        self._touched = None
        return self._copy.files

    @property
    def _source(self) -> CopySource:
        return CopySource(self._content, self.size, self._octets, self._read)

    def at_hand(self, suffix: str) -> AtHand | None:
        """See ``Claim.at_hand``."""
        if self._octets is None:
            return None
        return AtHand(self._octets, partial(self._make, suffix), self._replace)

    def _replace(self, envelope: Envelope, content: bytes) -> None:
        self._replacement = Replacement(envelope, content)

    def _make(self, suffix: str) -> WorkCopy:
        try:
            self._copy = make_copy(self._locked, self._source, suffix)
        except OSError as error:
            raise StoreError(f"copy {self.id} for filters", error) from error
        self._touched = None
        return self._copy.files

    def touched(self) -> bool:
        """See ``Claim.touched``."""
        if self._replacement is not None:
            return True
        if self._touched is None:
            self._touched = self._copy is not None and self._copy.changed()
        return self._touched

    async def before_dot(self, peer: str) -> bool:
        """See ``Claim.before_dot``."""
        first = self._doubt.begin(peer)
        # After the mark: a receiver that gives up later finds that.
        wait = self._locked.wait
        if self.ack is Ack.DELIVERED and (wait is None or not wait.stands()):
            if first:
                self._doubt.end()
            return False
        return True

    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        """See ``Claim.settle``."""
        heard = True
        try:
            if self._copy is not None:
                await self._take_in(self._copy, settlement)
            if answer is None or self.ack is Ack.STORED:
                await self._record(settlement)
                if self.ack is Ack.DELIVERED and isinstance(settlement, Done):
                    delivery_wait.forget(self._spool, self.id)
            else:
                heard = await self._answer(settlement, answer)
            self._settled = True
        except asyncio.CancelledError:
            if has_delivered(settlement):
                self._leave_in_doubt()
            raise
        except (OSError, StoreError) as error:
            self._put_off_after_trouble(error)
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"settle {self.id}", error) from error
        finally:
            try:
                if self._added is not None:
                    await self._added.show()
            finally:
                await self.release()
                if not isinstance(settlement, Done):
                    await self._grant_late(settlement)
        return heard

    async def _grant_late(self, settlement: Settlement) -> None:
        """Carry out a wish that came while the message failed or was set aside."""
        held = isinstance(settlement, Pass) and settlement.quarantine is not None
        try:
            await wishes.grant_late(
                self._spool, self.id, Stage.HELD if held else self._locked.stage
            )
        except OSError as error:
            self._spool.trouble(f"carry out the wish for {self.id}", error)

    async def _take_in(self, copy: SpoolCopy, settlement: Settlement) -> None:
        try:
            if not (isinstance(settlement, Pass) and self.touched()) and copy.removed():
                self._copy = None  # an empty directory: no messages were added
                return
            self._added = AddedMessages(self._spool)
            await self._added.take_in(copy)
        except (OSError, StoreError) as error:
            if isinstance(settlement, Pass | Done):
                raise  # the chain runs again: recipients may be in the new messages only
            self._spool.trouble(f"take in what filters put beside {self.id}", error)

    async def _answer(self, settlement: Settlement, answer: Reply) -> bool:
        """Answer the waiting client; if that fails, no client waits any more. See ``settle``."""
        if not answer.accepted:
            # The client is responsible for it again.
            if self.ack is Ack.DELIVERED:
                # Removed first: while its receiver lives, the message would be tried again.
                await self._leave(transition.after_refusal(settlement))
                await self._tell(answer)
            elif await self._tell(answer):
                await self._leave(transition.after_refusal(settlement))
            else:
                await self._record(settlement)
            return True
        if self.ack is Ack.DELIVERED and not isinstance(settlement, Done):
            await self._make_ordinary()
        await self._record(settlement)
        return await self._tell(answer) or self.ack is not Ack.DELIVERED

    async def _tell(self, answer: Reply) -> bool:
        wait = self._locked.wait
        return wait is not None and await wait.tell(answer)

    async def _make_ordinary(self) -> None:
        """Make the rest of a message durable, before its client is told 250."""
        answered = journal_format.write(journal.Answered(at=self._spool.clock()))
        await self._surely("append to a journal", lambda: self._locked.append(answered))
        with contextlib.suppress(PermissionError):  # another user's; its journal says it
            os.fchmod(self._locked.descriptor, self._spool.root.file_mode())
        await self._spool.syncer.run((self._content, self._locked.descriptor), (self._spool.root,))
        self._lasting = True

    def _record(self, settlement: Settlement) -> Awaitable[None]:
        match settlement:
            case Done(attempt, end):
                return self._leave(transition.gone(end, attempt))
            case Pass():
                return self._pass(settlement)
            case _:
                return self._change(settlement)

    async def _leave(self, change: Change) -> None:
        durability = self._spool.durability.settlements(self._since) if self._lasting else None
        deleted = change.end is MessageEnd.DELETED
        # After a kill, a client that waits must get an answer: the message is tried again.
        if not deleted and self._lasting:
            self._doubt.delivered()
        removed = None if durability is None else await self._record_and_remove(durability)
        if removed is None:
            removed = await self._surely(
                "remove a finished message", lambda: moves.remove(self._locked)
            )
        if removed:
            self._remember(change)
        elif not deleted:
            # It was moved out of reach: if it comes back, no recipient gets a second copy.
            now, done = self._spool.clock(), Reply(250, "2.0.0 delivered")
            replies = dict.fromkeys(self.history.pending(self.envelope), done)
            self._locked.append(journal_format.write(Attempt(at=now, peer="", replies=replies)))
        if durability is not None:
            self._doubt.end()
            await durability.removed(self._spool.root, self._hand_over())

    def _remember(self, change: Change) -> None:
        remember(self._spool, self, self._entries, change)

    async def _record_and_remove(self, durability: Durability) -> bool | None:
        """Remove a message that is recorded as gone; None: the disk refused to remove it.

        False: its envelope is out of reach.
        """
        removed: list[bool] = []

        def remove(error: OSError | None) -> None:
            if error is not None:
                raise error
            try:
                removed.append(moves.remove(self._locked))
            except OSError as refused:
                self._spool.trouble(f"remove a finished message ({self.id})", refused)
            else:
                self._doubt.end()  # before the sync: a kill there sends nothing twice

        while True:
            try:
                await durability.remove(self.id, remove)
                return removed[0] if removed else None
            except OSError as error:
                self._spool.trouble(f"log a finished message ({self.id})", error)
            await asyncio.sleep(_TRY_AGAIN)

    def _hand_over(self) -> Sequence[int]:
        """Give up the lock; return a large message's files, for another thread to close."""
        removed = self._content, self._locked.descriptor
        # Used by mistake, their numbers could be those of another message's files.
        self._content = self._locked.descriptor = -1
        self._handed_over = True
        if self.size > SMALL:
            locks.unlock(removed[1])
            return removed
        files.close(removed[0])
        locks.unlock_and_close(removed[1])
        return ()

    async def _pass(self, passed: Pass) -> None:
        if passed.quarantine is not None:
            passed = transition.passed_beside(self._wish(), passed)
        durability = self._spool.durability.settlements(self._since)
        if self._replacement is not None:
            await adoption.replace(self._locked, self._replacement, passed, durability)
            return
        if self._copy is not None and self.touched():
            await adoption.adopt(self._locked, self._copy, passed, durability)
            self._copy = None  # it is the message now
            return
        length, crc32 = self.history.length, self.history.crc32
        if length is None or crc32 is None:  # another program's message
            measured = await in_thread(file_octets.measure, self._content)
            length, crc32 = measured
        now = self._spool.clock()
        change = transition.after_filters(self.stage, passed, length=length, crc32=crc32, now=now)
        if passed.quarantine is None and passed.refused is None:
            # S1 -> S2. No sync: after a power cut the chain would run again, on the same content.
            moves.make(self._locked, change)
        else:
            await self._append_and_show(change, change.stage or Stage.READY)

    async def _change(self, settlement: Defer | Fail | Hold) -> None:
        """Defer, fail or hold the message, or do what the operator has wished meanwhile."""
        change = transition.after_settlement(
            settlement,
            self._wish(),
            stage=self.stage,
            history=self.history,
            now=self._spool.clock(),
        )
        if change.stage is None:
            await self._leave(change)
            return
        await self._append_and_show(change, change.stage)

    async def _append_and_show(self, change: Change, stage: Stage) -> None:
        """Append to the journal and move; durably if a power cut must not undo it."""
        locked, lines = self._locked, b"".join(map(journal_format.write, change.entries))
        if lines and (stage is not self.stage or change.delivers):
            # Guarantee: a recipient recorded as delivered is not delivered to again.
            await self._surely("append to a journal", lambda: locked.append(lines))

            # S4 or S5: the reason is durable before the name shows it. A call that is cancelled
            # moves it all the same: with its old name it would count as released by hand.
            def show(error: OSError | None) -> None:
                moves.show_kept(locked, stage, change.due, error)
                self._doubt.end()

            durability = self._spool.durability.settlements()
            await durability.keep(self.id, stage, locked.descriptor, show)
            return
        try:
            if lines:
                locked.append(lines)
        except OSError as error:  # no room: the time of the next try is kept in memory
            self._spool.trouble(f"append to the journal of {self.id}", error)
            self._spool.put_off[self.id] = change.due or 0.0
        moves.show(locked, stage, change.due)

    async def _surely(self, doing: str, act: Callable[[], _T]) -> _T:
        """Do a step that must follow a delivery, however long the disk refuses."""
        while True:
            try:
                return act()
            except OSError as error:
                self._spool.trouble(f"{doing} ({self.id})", error)
            await asyncio.sleep(_TRY_AGAIN)

    def _leave_in_doubt(self) -> None:
        """Leave a delivery that could not be recorded to the next opener, as after a kill."""
        if self._doubt.leave():
            self._put_off = True  # a forwarder that claims it at once would come before

    def _put_off_after_trouble(self, error: Exception) -> None:
        """Put the message off: filters that send mail would send it again at each try."""
        self._put_off = True
        self._spool.put_off[self.id] = due = self._spool.clock() + LOOK_AGAIN_AT_TROUBLE
        self._spool.announcer.announce(self.stage, self.id, due=due)
        if self._added is not None:
            self._added.after_trouble(error)

    def _wish(self) -> AdministratorWish | None:
        """Return the wish of an operator that came after the envelope was read."""
        tail = file_octets.read_all(self._locked.descriptor, self._read)
        return journal_format.history(tail).wish

    async def release(self) -> None:
        """See ``Claim.release``."""
        if not self._open:
            return
        self._open = False
        if self._copy is not None:
            self._copy.discard()
        self._doubt.end()
        self._locked.stop_waiting()
        if not self._handed_over:
            os.close(self._content)
            self._locked.release()
        if not self._settled and not self._put_off:
            self._spool.announcer.announce(self.stage, self.id)
