"""The changes that a memory store makes to its mail, each whole by itself."""

import secrets
import zlib
from collections.abc import Callable

from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.envelope import Envelope
from emailrelay.errors import StoreError
from emailrelay.events.event import Report
from emailrelay.events.store import StoreTrouble, TakenIn
from emailrelay.history_record import past
from emailrelay.journal import AdministratorWish
from emailrelay.mail_fields import mail_fields
from emailrelay.queue_id import PROCESS_BITS, QueueId, QueueIds
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.failure import notice_envelope
from emailrelay.store.memory.mail import Kept, MemoryMail
from emailrelay.store.private_copy import PrivateCopy, read_content, read_envelope
from emailrelay.store.transition import Change


class MemoryChanges:
    """What the openers of one memory store, each with its clock and its log, do with its mail."""

    def __init__(self, *, report: Report, clock: Callable[[], float], mail: MemoryMail) -> None:
        self.report = report
        self.clock = clock
        self.mail = mail
        self._ids = QueueIds(process=secrets.randbits(PROCESS_BITS))

    def next_id(self) -> QueueId:
        """Return the id of a new message."""
        return self._ids.next(self.clock())

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
            whole = (*kept.entries, *change.entries)
            now, end, size = self.clock(), change.end, len(kept.content)
            self.mail.history.add(past(kept.id, kept.envelope, whole, now=now, end=end, size=size))
            return
        kept.entries.extend(change.entries)
        kept.stage = change.stage
        kept.changed = self.clock()
        kept.since = change.due or kept.changed
