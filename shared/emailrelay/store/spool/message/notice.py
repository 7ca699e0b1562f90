"""A notice of failure to a sender: it is sent once, whichever process dies meanwhile.

N: the notice is drafted and synced in ``.dsn/ID.KIND/`` while the failed message's journal has no
line ``Notified``; if its notifier dies then, it is discarded and made again. After that line it is
sent. All of this belongs to the holder of the lock on the failed envelope.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from emailrelay import envelope_format, journal
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.events import Recovered
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.failure import PreparedNotice, notice_envelope
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.marks import entrance
from emailrelay.store.spool.message.draft_files import DraftFiles
from emailrelay.store.spool.message.moves import Locked, history_of
from emailrelay.store.spool.message.spool import Spool


class NoticeKind(StrEnum):
    """How a notice leaves."""

    RELAY = "relay"
    """As a new message of the spool: any opener can finish that."""
    LOCAL = "local"
    """By a local delivery agent, which the next notifier calls again."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One notice under ``.dsn/``, about the failed message ``about``."""

    spool: Spool
    about: QueueId
    kind: NoticeKind

    @property
    def at(self) -> Location:
        """Return its location."""
        return self.spool.directories.notices / f"{self.about}.{self.kind}"

    @property
    def directory(self) -> Directory:
        """Return its directory."""
        return self.spool.directories.notices.below(self.at.name, makes=False)

    def draft(self, to: Address, text: Callable[[QueueId], bytes]) -> PreparedNotice:
        """Write the notice and put it on stable storage; ``text`` makes it for the id it will have."""
        spool = self.spool
        files.make_directory(self.at)
        stage = entrance.get(spool.root)
        pair = DraftFiles(self.directory, lambda: spool.ids.next(spool.clock()))
        try:
            content = text(pair.id)
            pair.write(content)
            pair.seal(
                notice_envelope(to, content),
                Accepted(at=spool.clock(), stage=stage, length=pair.length, crc32=pair.crc32),
            )
            pair.sync()
        finally:
            pair.close()
        files.sync_directory(spool.directories.notices)
        return PreparedNotice(pair.id, content)

    def discard(self) -> None:
        """Remove it. The envelope goes first: without one it counts as sent."""
        message = self.id()
        if message is not None:
            files.remove(self.directory / names.draft_envelope(message))
        files.remove_tree(self.at)

    def id(self) -> QueueId | None:
        """Return the id that the notice will have as a message; None: it was sent."""
        for name in files.listed(self.directory):
            entry = names.parse(name)
            if entry is not None:
                return entry.id
        return None

    def text(self, message: QueueId) -> bytes:
        """Return the notice's content."""
        descriptor = files.opened(self.directory / names.content(message), os.O_RDONLY)
        try:
            return files.read_all(descriptor)
        finally:
            os.close(descriptor)

    def move_on(self) -> QueueId | None:
        """Make it a message of the spool; return its id, or None if it was one already."""
        message = self.id()
        if message is not None:
            directory = self.directory
            drafted = directory / names.draft_envelope(message)
            content = directory / names.content(message)
            stage = _stage(drafted)
            if files.exists(content):
                files.rename(content, self.spool.content(message))
            files.rename(drafted, self.spool.envelope(message, stage))
            self.spool.announcer.announce(stage, message)
        self.discard()
        return message


def _stage(path: Location) -> Stage:
    descriptor = files.opened(path, os.O_RDONLY)
    try:
        file = envelope_format.parse(files.read_all(descriptor))
    finally:
        os.close(descriptor)
    return journal.history(file.tail).stage or Stage.READY


def lying(spool: Spool, about: QueueId) -> Notice | None:
    """Return the notice that a dead notifier left about a message."""
    for kind in NoticeKind:
        notice = Notice(spool, about, kind)
        if files.is_directory(notice.at):
            return notice
    return None


def record(locked: Locked) -> None:
    """Record durably that the sender is told; from here the notice is sent in any case."""
    locked.append(journal.write(journal.Notified(at=locked.spool.clock())))
    settlements = locked.spool.durability.settlements()
    settlements.keep_now(locked.id, locked.stage, locked.descriptor)


def sweep(spool: Spool) -> None:
    """Finish or discard what dead notifiers left; notices for local agents wait for a notifier."""
    for notice in _all(spool):
        locked = _lock(spool, notice.about)
        if locked is None:
            if not _exists(spool, notice.about):
                notice.discard()  # the operator has deleted the failed message
            continue
        try:
            _settle(notice, history_of(locked))
        finally:
            locked.release()


def _settle(notice: Notice, history: History) -> None:
    if not history.notified:
        notice.discard()
    elif notice.kind is NoticeKind.RELAY:
        notice.move_on()
        notice.spool.report(Recovered(id=notice.about, what="notice of failure sent on"))


def _all(spool: Spool) -> Iterator[Notice]:
    try:
        found = files.listed(spool.directories.notices)
    except FileNotFoundError:
        return
    for name in found:
        about, _, kind = name.rpartition(".")
        if kind in set(NoticeKind):
            yield Notice(spool, QueueId(about), NoticeKind(kind))


def _lock(spool: Spool, message: QueueId) -> Locked | None:
    for stage in Stage:
        descriptor = locks.lock_named(spool.envelope(message, stage))
        if descriptor is not None:
            return Locked(spool, message, stage, descriptor)
    return None


def _exists(spool: Spool, message: QueueId) -> bool:
    return any(files.is_there(spool.envelope(message, stage)) for stage in Stage)
