"""The claim of a memory store."""

import zlib
from collections.abc import AsyncIterator

from emailrelay import journal
from emailrelay.ack import Ack
from emailrelay.journal import AdministratorWish, Wished
from emailrelay.reply import Reply
from emailrelay.settlement import Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.base import CHUNK
from emailrelay.store.claim import Claim, WorkCopy
from emailrelay.store.memory.changes import MemoryChanges
from emailrelay.store.memory.mail import Kept
from emailrelay.store.private_copy import PrivateCopy, read_content


class MemoryClaim(Claim):
    """See ``Claim``."""

    def __init__(self, changes: MemoryChanges, kept: Kept) -> None:
        kept.claimed, kept.woken = True, False
        self.id = kept.id
        self.stage = kept.stage
        self.envelope = kept.envelope
        self.history = kept.history
        self.size = len(kept.content)
        self.ack = Ack.STORED if kept.waiter is None else kept.history.ack.at(kept.stage)
        self._changes = changes
        self._kept = kept
        self._copy: PrivateCopy | None = None
        self._touched: bool | None = None
        self._known = len(kept.entries)
        self._ended = False

    async def content(self) -> AsyncIterator[bytes]:
        """See ``Claim``."""
        for start in range(0, self.size, CHUNK):
            yield self._kept.content[start : start + CHUNK]

    async def work_copy(self, suffix: str) -> WorkCopy:
        """See ``Claim``."""
        self._drop_copy()
        self._copy = PrivateCopy(self.id, suffix, self._kept.envelope, self._kept.entries)
        self._copy.write(self._kept.content)
        self._touched = None
        return self._copy.paths

    def touched(self) -> bool:
        """See ``Claim``."""
        if self._touched is None:
            self._touched = self._copy is not None and self._copy.changed()
        return self._touched

    async def before_dot(self, peer: str) -> bool:
        """See ``Claim``; no message outlives the process, but its client may give up."""
        if self._kept.waiter is not None:
            self._kept.at_dot = peer
        return self.ack is not Ack.DELIVERED or self._kept.waiter is not None

    async def settle(self, settlement: Settlement, answer: Reply | None = None) -> bool:
        """See ``Claim``."""
        heard = True
        if self._ended:
            raise RuntimeError(f"{self.id}: the claim has ended")
        if isinstance(settlement, Pass) and self.stage is not Stage.UNFILTERED:
            raise ValueError(
                f"{self.id}: only an unfiltered message passes, not a {self.stage} one"
            )
        if answer is None or self.ack is Ack.STORED:
            self._record(settlement)
        elif answer.accepted:
            self._record(settlement)
            self._kept.entries.append(journal.Answered(at=self._changes.clock()))
            heard = self._tell(answer) or self.ack is not Ack.DELIVERED
        else:
            refused = self._tell(answer) or self.ack is Ack.DELIVERED
            if refused:
                self._changes.make(self._kept, transition.after_refusal(settlement))
            else:
                self._record(settlement)
        if self._copy is not None:
            self._changes.take_in(self._copy)
        self._end()
        return heard

    def _tell(self, answer: Reply) -> bool:
        """Answer the waiting client; False if no client waits any more."""
        waiter, self._kept.waiter = self._kept.waiter, None
        if waiter is None:
            return False
        waiter.set_result(answer)
        return True

    def _record(self, settlement: Settlement) -> None:
        kept, now = self._kept, self._changes.clock()
        if isinstance(settlement, Pass):
            if self._copy is not None and self.touched():
                envelope = self._copy.result()
                kept.content = b"".join(read_content(self._copy.paths))
                kept.envelope = envelope
            length, crc32 = len(kept.content), zlib.crc32(kept.content)
            passed = transition.passed_beside(self._wish(), settlement)
            if passed.quarantine is not None:
                self._known = len(kept.entries)  # the wish is taken into account
            change = transition.after_filters(
                self.stage, passed, length=length, crc32=crc32, now=now
            )
        else:
            change = transition.after_settlement(
                settlement, self._wish(), stage=self.stage, history=self.history, now=now
            )
            self._known = len(kept.entries)  # the wish is taken into account
        self._changes.make(kept, change)

    def _wish(self) -> AdministratorWish | None:
        """Return the operator's last request since the claim began."""
        entries = self._kept.entries[self._known :]
        return next((each.wish for each in reversed(entries) if isinstance(each, Wished)), None)

    async def release(self) -> None:
        """See ``Claim``."""
        if not self._ended:
            self._end()

    def _end(self) -> None:
        self._ended = True
        self._kept.at_dot = ""
        self._drop_copy()
        self._kept.claimed = False
        wish = self._wish()
        if wish is not None and self.id in self._changes.mail.kept:
            self._changes.obey(self._kept, wish)
        self._changes.mail.ring()

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.discard()
            self._copy = None
