"""Sends the notices for a spool's failed messages, each once."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from emailrelay import envelope_format, journal, spool_owner
from emailrelay.envelope import NULL_SENDER, Envelope
from emailrelay.errors import DamagedMessage, reason_of
from emailrelay.journal import History
from emailrelay.notify import dsn
from emailrelay.notify.agents import Agent, NotDelivered
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.message import moves, notice, rewriting
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.notice import Notice, NoticeKind
from emailrelay.store.spool.message.spool import Spool


@dataclass(slots=True)
class NoticeCount:
    """What one run did."""

    told: list[QueueId] = field(default_factory=list[QueueId])
    double: list[QueueId] = field(default_factory=list[QueueId])
    """Failed messages of the null sender: notices and the like, of which nobody is told."""
    silent: list[QueueId] = field(default_factory=list[QueueId])
    """Nobody to tell, or nothing: an unreadable envelope, or every recipient has the message."""
    trouble: dict[QueueId, str] = field(default_factory=dict[QueueId, str])


@dataclass(slots=True, kw_only=True)
class Notifier:
    """Tells senders through ``agent``, or through the spool itself if there is none."""

    spool: Spool
    host: str
    agent: Agent | None
    count: NoticeCount = field(default_factory=NoticeCount)

    def run(self) -> NoticeCount:
        """Look at every failed message once."""
        for message in sorted(self._failed()):
            try:
                descriptor = locks.lock_named(self.spool.envelope(message, Stage.FAILED))
                if descriptor is not None:  # else gone, or another notifier is at it
                    self._look_at(Locked(self.spool, message, Stage.FAILED, descriptor))
            except (OSError, NotDelivered) as error:
                self.count.trouble[message] = reason_of(error)
        return self.count

    def _look_at(self, locked: Locked) -> None:
        try:
            rewriting.shorten_if_long(locked)
            self._tell(locked)
            self._obey(locked)
        finally:
            locked.release()

    def _failed(self) -> Iterator[QueueId]:
        with files.scanned(self.spool.root) as entries:
            for item in entries:
                entry = names.parse(item.name)
                if entry is not None and entry.stage is Stage.FAILED:
                    yield entry.id

    def _tell(self, locked: Locked) -> None:
        octets = files.read_ends(locked.descriptor)
        try:
            file = envelope_format.parse(octets)
            envelope, tail = file.envelope, file.tail
        except DamagedMessage:
            salvaged = envelope_format.salvage(octets)
            if salvaged is None:
                if b"X-MailRelay-Notified:" not in octets:
                    self.count.silent.append(locked.id)
                    notice.record(locked)
                return
            envelope, tail = salvaged, octets
        history = journal.read(journal.parse(tail))
        left = notice.lying(self.spool, locked.id)
        if history.notified:
            if left is not None:
                self._send(left, envelope)
        elif envelope.sender == NULL_SENDER:
            notice.record(locked)
            self.count.double.append(locked.id)
        else:
            if left is not None:
                left.discard()
            self._tell_sender(locked, envelope, history)

    def _tell_sender(self, locked: Locked, envelope: Envelope, history: History) -> None:
        failures = dsn.failures(envelope, history)
        if not failures:
            notice.record(locked)
            self.count.silent.append(locked.id)
            return
        if self.agent is not None:
            self.agent.check(envelope.sender)
        drafted = Notice(
            self.spool, locked.id, NoticeKind.RELAY if self.agent is None else NoticeKind.LOCAL
        )
        header = self._header(locked.id)
        attempt = history.last_attempt
        drafted.draft(
            envelope.sender,
            lambda message: dsn.compose(
                dsn.FailureReport(
                    id=message,
                    about=locked.id,
                    host=self.host,
                    sender=envelope.sender,
                    failures=failures,
                    arrived=history.accepted_at,
                    last_attempt=None if attempt is None else attempt.at,
                    now=self.spool.clock(),
                    header=header,
                )
            ),
        )
        notice.record(locked)
        self._send(drafted, envelope)

    def _header(self, message: QueueId) -> bytes:
        descriptor = files.open_regular(self.spool.content(message))
        if descriptor is None:
            return b""
        try:
            return os.pread(descriptor, dsn.LARGEST_HEADER, 0)
        finally:
            os.close(descriptor)

    def _send(self, drafted: Notice, envelope: Envelope) -> None:
        """Move a recorded notice on; if that fails it lies there for the next run."""
        message = drafted.id()
        if message is not None and self.agent is not None:
            text = drafted.text(message)
            with spool_owner.as_root():  # who delivers to other users needs root's rights for that
                self.agent.deliver(message, envelope.sender, text)
            drafted.discard()
        else:
            drafted.move_on()
        if message is not None:
            self.count.told.append(drafted.about)

    def _obey(self, locked: Locked) -> None:
        """Do what the operator asked for while the message was ours."""
        wish = moves.history_of(locked).wish
        if wish is not None:
            moves.grant(locked, wish)
