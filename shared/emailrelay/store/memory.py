"""A store within one process, for tests and trials: its mail ends with the process.

It keeps the contract of ``store.base`` except for stable storage. Stores that share one
``MemoryMail`` see the same mail, as two processes on one spool do. All of it runs on the event
loop, and no step that changes mail awaits, so each is whole by itself.
"""

import asyncio
import secrets
import time
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Self

from emailrelay import journal
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import NO_REQUEST, DsnRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import StoreError
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.event import Report
from emailrelay.events.store import PossibleDuplicate, StoreTrouble, TakenIn
from emailrelay.history_record import past
from emailrelay.journal import AdministratorWish, Doubted, Notified, Wished
from emailrelay.mail_fields import mail_fields
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.reply import Reply
from emailrelay.settlement import Pass, Settlement
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.base import CHUNK, Claim, Draft, Feed, Listed, Store, WorkCopy
from emailrelay.store.failure import (
    FailedMessage,
    PreparedNotice,
    notice_depth,
    notice_envelope,
)
from emailrelay.store.hint_channel import HintChannel
from emailrelay.store.limits import RouteLimits
from emailrelay.store.memory_history import MemoryHistory
from emailrelay.store.memory_limits import MemoryLimits
from emailrelay.store.memory_mail import Kept, MemoryFeed, MemoryMail
from emailrelay.store.private_copy import PrivateCopy, read_content, read_envelope
from emailrelay.store.transition import Change


class MemoryStore(Store):
    """See ``Store``. ``mail`` is shared by the stores that are to see the same messages."""

    def __init__(
        self,
        *,
        report: Report,
        clock: Callable[[], float] = time.time,
        mail: MemoryMail | None = None,
    ) -> None:
        self.report = report
        self.clock = clock
        self.mail = mail or MemoryMail()
        self._ids = QueueIds(process=secrets.randbits(PROCESS_BITS))

    async def __aenter__(self) -> Self:
        """See ``Store``."""
        for kept in list(self.mail.kept.values()):
            if kept.notice is not None and not kept.local and not kept.claimed:
                self.relay_notice(kept)
        return self

    async def __aexit__(self, *_: object) -> None:
        """See ``Store``; a commit never awaits, so none is under way."""

    def draft(self, envelope: Envelope, message: QueueId | None = None) -> Draft:
        """See ``Store``."""
        return _Draft(self, message or self.next_id(), envelope)

    def next_id(self) -> QueueId:
        """Return the id of a new message."""
        return self._ids.next(self.clock())

    async def adopt(
        self,
        message: QueueId,
        envelope: Envelope,
        entries: Sequence[journal.Entry],
        content: AsyncIterator[bytes],
        *,
        once: bool = False,  # noqa: ARG002 - this store forgets messages that leave
    ) -> None:
        """See ``Store``."""
        octets = b"".join([chunk async for chunk in content])
        if message not in self.mail.kept:
            now = self.clock()
            self.mail.kept[message] = Kept(
                message, Stage.HELD, octets, envelope, list(entries), since=now, changed=now
            )

    def limits(self, route: str) -> RouteLimits:
        """See ``Store``."""
        return self.mail.limits.setdefault(route, MemoryLimits(clock=self.clock))

    async def set_entrance(self, stage: Stage) -> None:
        """See ``Store``."""
        self.mail.entrance = stage

    async def entrance(self) -> Stage:
        """See ``Store``."""
        return self.mail.entrance

    def feed(self, stage: Stage, *, hints: HintChannel | None = None) -> Feed:  # noqa: ARG002 - see ``Store.dispatch``
        """See ``Store``."""
        return MemoryFeed(self, self.mail, self.clock, stage)

    async def claim(self, stage: Stage, message: QueueId, *, due_only: bool = True) -> Claim | None:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None or kept.stage is not stage or kept.claimed:
            return None
        if due_only and kept.wait(self.clock()) > 0:
            return None
        if kept.history.ack is Ack.DELIVERED and kept.waiter is None:
            self.make(kept, transition.gone(MessageEnd.WITHDRAWN))
            self.report(Withdrawn(id=message))
            return None
        return _Claim(self, kept)

    def add(self, accepted: Accepted, message: QueueId, envelope: Envelope, content: bytes) -> Kept:
        """Make a message visible, whole."""
        at = accepted.at
        kept = Kept(message, accepted.stage, content, envelope, [accepted], since=at, changed=at)
        self.mail.kept[message] = kept
        self.mail.ring()
        return kept

    def accepted(self, stage: Stage, content: bytes, ack: Ack = Ack.STORED) -> Accepted:
        """Give the first line of a message's journal."""
        crc32 = zlib.crc32(content)
        return Accepted(at=self.clock(), stage=stage, length=len(content), crc32=crc32, ack=ack)

    def take_in(self, copy: PrivateCopy) -> None:
        """Add the messages that a program put beside its copy."""
        for stage, path in copy.new_pairs():
            try:
                envelope, content = read_envelope(path), b"".join(read_content(path))
            except StoreError as error:
                self.report(StoreTrouble(doing="taking in a message", reason=str(error)))
                continue
            message = self.next_id()
            self.add(self.accepted(stage, content), message, envelope, content)
            self.report(TakenIn(id=message, **mail_fields(envelope)))

    async def listing(self, stages: Sequence[Stage] = tuple(Stage)) -> AsyncIterator[Listed]:
        """See ``Store``."""
        for kept in list(self.mail.kept.values()):
            if kept.stage in stages:
                size = len(kept.content)
                yield Listed(id=kept.id, stage=kept.stage, since=kept.since, size=size)

    async def journal(self, message: QueueId) -> tuple[Stage, Envelope, list[journal.Entry]] | None:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        return (kept.stage, kept.envelope, list(kept.entries)) if kept else None

    def history(self) -> MemoryHistory:
        """See ``Store``."""
        return self.mail.history

    async def flush(self, message: QueueId) -> bool:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None or kept.claimed:
            return False
        now = self.clock()
        change = transition.after_flush(stage=kept.stage, history=kept.history, now=now)
        if change is not None:
            self.make(kept, change)
            self.mail.ring()
        return change is not None

    async def wish(self, message: QueueId, wish: AdministratorWish) -> bool:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None:
            return False
        if kept.claimed:
            kept.entries.append(Wished(at=self.clock(), wish=wish))
        else:
            self.obey(kept, wish)
            self.mail.ring()
        return True

    async def failure(self, message: QueueId) -> FailedMessage | None:
        """See ``Store``."""
        kept = self.mail.kept.get(message)
        if kept is None or kept.stage is not Stage.FAILED or kept.claimed:
            return None
        return _Failure(self, kept)

    def relay_notice(self, kept: Kept) -> None:
        """See ``FailedMessage.relay``."""
        notice, kept.notice = kept.notice, None
        if notice is not None:
            envelope = notice_envelope(kept.notice_to, notice.text)
            accepted = self.accepted(self.mail.entrance, notice.text)
            accepted = accepted._replace(notice=kept.notice_depth)
            self.add(accepted, notice.id, envelope, notice.text)

    def obey(self, kept: Kept, wish: AdministratorWish) -> None:
        """Carry out an operator's wish for a message without a claim."""
        now = self.clock()
        change = transition.after_wish(wish, stage=kept.stage, history=kept.history, now=now)
        if change is not None:
            self.make(kept, change)

    def make(self, kept: Kept, change: Change) -> None:
        """Make a change."""
        if change.stage is None:
            del self.mail.kept[kept.id]
            told = (*kept.entries, *change.entries)
            now, end, size = self.clock(), change.end, len(kept.content)
            self.mail.history.add(past(kept.id, kept.envelope, told, now=now, end=end, size=size))
            return
        kept.entries.extend(change.entries)
        kept.stage = change.stage
        kept.changed = self.clock()
        kept.since = change.due or kept.changed


class _Draft(Draft):
    """See ``Draft``."""

    def __init__(self, store: MemoryStore, message: QueueId, envelope: Envelope) -> None:
        self.id = message
        self._store = store
        self._envelope = envelope
        self._content = bytearray()
        self._kept: Kept | None = None
        self._waiter: asyncio.Future[Reply] | None = None

    def write(self, chunk: bytes | bytearray | memoryview) -> bool:
        """See ``Draft``."""
        self._content += chunk
        return True

    async def commit(
        self,
        stage: Stage,
        ack: Ack = Ack.STORED,
        session: str = "",
        dsn: DsnRequest = NO_REQUEST,
    ) -> None:
        """See ``Draft``."""
        if ack is Ack.FILTERED and stage is Stage.READY:
            ack = Ack.STORED  # there are no filters to wait for
        content = bytes(self._content)
        accepted = self._store.accepted(stage, content, ack)._replace(session=session, dsn=dsn)
        kept = self._store.add(accepted, self.id, self._envelope, content)
        if ack is not Ack.STORED:
            self._waiter = kept.waiter = asyncio.get_running_loop().create_future()
            self._kept = kept

    async def answer(self, within: float, gone: asyncio.Future[None] | None = None) -> Reply | None:
        """See ``Draft``."""
        if self._waiter is None:
            return None
        waiting = (self._waiter,) if gone is None else (self._waiter, gone)
        try:
            await asyncio.wait(waiting, timeout=within, return_when=asyncio.FIRST_COMPLETED)
            return self._waiter.result() if self._waiter.done() else None
        finally:
            await self.discard()

    async def discard(self) -> None:
        """See ``Draft``; what was not committed is in no place but here."""
        kept, self._kept = self._kept, None
        if kept is None:
            return
        waits, kept.waiter = kept.waiter is not None, None
        if kept.history.ack is not Ack.DELIVERED:
            return
        if not kept.claimed:
            if kept.id in self._store.mail.kept:
                self._store.make(kept, transition.gone(MessageEnd.WITHDRAWN))
        elif waits and kept.at_dot:
            self._store.report(PossibleDuplicate(id=kept.id, peer=kept.at_dot))
            kept.entries.append(Doubted(at=self._store.clock(), peer=kept.at_dot))


class _Claim(Claim):
    """See ``Claim``."""

    def __init__(self, store: MemoryStore, kept: Kept) -> None:
        kept.claimed, kept.woken = True, False
        self.id = kept.id
        self.stage = kept.stage
        self.envelope = kept.envelope
        self.history = kept.history
        self.size = len(kept.content)
        filtered = kept.history.ack is Ack.FILTERED and kept.stage is Stage.READY
        waits = (
            kept.waiter is not None and not filtered
        )  # the verdict is not the forwarder's to give
        self.ack = kept.history.ack if waits else Ack.STORED
        self._store = store
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
            self._kept.entries.append(journal.Answered(at=self._store.clock()))
            heard = self._tell(answer) or self.ack is not Ack.DELIVERED
        else:
            refused = self._tell(answer) or self.ack is Ack.DELIVERED
            if refused:
                self._store.make(self._kept, transition.after_refusal(settlement))
            else:
                self._record(settlement)
        if self._copy is not None:
            self._store.take_in(self._copy)
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
        kept, now = self._kept, self._store.clock()
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
        self._store.make(kept, change)

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
        if wish is not None and self.id in self._store.mail.kept:
            self._store.obey(self._kept, wish)
        self._store.mail.ring()

    def _drop_copy(self) -> None:
        if self._copy is not None:
            self._copy.discard()
            self._copy = None


class _Failure(FailedMessage):
    """See ``FailedMessage``."""

    def __init__(self, store: MemoryStore, kept: Kept) -> None:
        self.id, self.envelope, self.history = kept.id, kept.envelope, kept.history
        self._store, self._kept = store, kept
        kept.claimed = True

    async def beginning(self, most: int) -> bytes:
        """See ``FailedMessage``."""
        return self._kept.content[:most]

    async def record(self, *, told: bool = False) -> None:
        """See ``FailedMessage``."""
        self._kept.entries.append(Notified(at=self._store.clock(), told=told))

    def beside(self, other: FailedMessage) -> bool:
        """See ``FailedMessage``."""
        return isinstance(other, _Failure) and other._store.mail is self._store.mail  # noqa: SLF001 - its own kind

    async def prepare(
        self,
        text: Callable[[QueueId], bytes],
        *,
        local: bool,
        to: Sequence[Address] = (),
        also: Sequence[FailedMessage] = (),
    ) -> PreparedNotice:
        """See ``FailedMessage``."""
        message, kept = self._store.next_id(), self._kept
        to = tuple(to) or (kept.envelope.sender,)
        prepared = PreparedNotice(message, text(message))
        kept.notice, kept.notice_to, kept.local = prepared, to, local
        kept.notice_depth = notice_depth((self, *also))
        noted = Notified(at=self._store.clock(), told=True, to=to, notice=message)
        for failure in (self, *also):
            if isinstance(failure, _Failure):
                failure._kept.entries.append(noted)  # noqa: SLF001 - its own kind
        return prepared

    async def prepared(self) -> PreparedNotice | None:
        """See ``FailedMessage``."""
        return self._kept.notice

    async def relay(self) -> None:
        """See ``FailedMessage``."""
        self._store.relay_notice(self._kept)

    async def delivered(self) -> None:
        """See ``FailedMessage``."""
        self._kept.notice = None

    async def remove(self) -> None:
        """See ``FailedMessage``."""
        self._store.make(self._kept, transition.gone(MessageEnd.EXPIRED))

    async def release(self) -> None:
        """See ``FailedMessage``."""
        self._kept.claimed = False
        if self._kept.history.wish is not None and self.id in self._store.mail.kept:
            self._store.obey(self._kept, self._kept.history.wish)
        self._store.mail.ring()
