"""A notice of failure to a sender: it is sent once, whichever process dies meanwhile.

N: the notice is drafted and synced in ``.dsn/ID.KIND/`` while the failed message's journal has no
line ``Notified``; if its notifier dies then, it is discarded and made again. After that line it is
sent. All of this belongs to the holder of the lock on the failed envelope.

A notice about several messages lies with one of them. Its file ``also`` names the others, whose
journals get their lines after that of the first: any opener can finish that, too. Until then no
process tells of them in another way (``covered``).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from emailrelay import envelope_format, journal_format
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.events.store import Recovered
from emailrelay.journal import History, Notified
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.failure import PreparedNotice, notice_envelope
from emailrelay.store.spool.disk import file_octets, files, locks, names, regular_files
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.durable.draft_files import DraftFiles
from emailrelay.store.spool.marks import entrance
from emailrelay.store.spool.message.moves import Locked, history_in, history_of, lock
from emailrelay.store.spool.message.spool import Spool

_ALSO = "also"
"""The file with the ids of the other messages, one on each line."""


class NoticeKind(StrEnum):
    """The ways in which a notice leaves."""

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

    def draft(
        self,
        to: Sequence[Address],
        text: Callable[[QueueId], bytes],
        also: Sequence[QueueId] = (),
        *,
        depth: int,
    ) -> PreparedNotice:
        """Write the notice durably; ``text`` makes its content for the id that it will have.

        ``depth``: see ``Accepted.notice``.
        """
        spool = self.spool
        files.make_directory(self.at)
        if also:
            self._name_others(also)
        stage = entrance.get(spool.root)
        pair = DraftFiles(self.directory, lambda: spool.ids.next(spool.clock()))
        try:
            content = text(pair.id)
            pair.write(content)
            accepted = Accepted(
                at=spool.clock(), stage=stage, length=pair.length, crc32=pair.crc32, notice=depth
            )
            pair.seal(notice_envelope(to, content), accepted)
            pair.sync()
        finally:
            pair.close()
        files.sync_directory(spool.directories.notices)
        return PreparedNotice(pair.id, content)

    def _name_others(self, others: Sequence[QueueId]) -> None:
        descriptor = files.create(self.directory / _ALSO)
        try:
            file_octets.write_all(descriptor, "".join(f"{other}\n" for other in others).encode())
            file_octets.sync_data(descriptor)
        finally:
            os.close(descriptor)

    def others(self) -> tuple[QueueId, ...]:
        """Return the other messages that it is about."""
        octets = regular_files.read(self.directory / _ALSO) or b""
        return tuple(map(QueueId, octets.decode("ascii", "replace").split()))

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
        return _read(self.directory / names.content(message))

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
            with locks.held(drafted):
                files.rename(drafted, self.spool.envelope(message, stage))
                if self.spool.log.in_use():
                    # Before a process can claim it and settle it in the log: after a power cut it
                    # would be here again, and be sent again.
                    files.sync_directory(self.spool.root)
                    files.sync_directory(directory)
            self.spool.announcer.announce(stage, message)
        self.discard()
        return message


def _stage(path: Location) -> Stage:
    return journal_format.history(envelope_format.parse(_read(path)).tail).stage or Stage.READY


def _read(path: Location) -> bytes:
    descriptor = files.opened(path, os.O_RDONLY)
    try:
        return file_octets.read_all(descriptor)
    finally:
        os.close(descriptor)


def lying(spool: Spool, about: QueueId) -> Notice | None:
    """Return the notice that a dead notifier left about a message."""
    for kind in NoticeKind:
        notice = Notice(spool, about, kind)
        if files.is_directory(notice.at):
            return notice
    return None


def covered(spool: Spool, message: QueueId) -> bool:
    """Return whether a notice that lies with another message is about this one, too."""
    return any(
        notice.kind is NoticeKind.RELAY and notice.about != message and message in notice.others()
        for notice in present(spool)
    )


def record(locked: Locked, noted: Notified) -> None:
    """Record a notification durably; from here the notice is sent in any case."""
    locked.append(journal_format.write(noted))
    settlements = locked.spool.durability.settlements()
    settlements.keep_now(locked.id, locked.stage, locked.descriptor)


def finish(notice: Notice) -> None:
    """Finish or discard what a dead notifier left; a notice for a local agent waits for another."""
    spool = notice.spool
    held = (lock(spool, notice.about, stage) for stage in Stage)
    locked = next(filter(None, held), None)
    if locked is not None:
        with locked:
            _settle(notice, history_of(locked))
    elif spool.stage_of(notice.about) is None:
        _settle(notice, History())  # the operator has deleted the failed message


def _settle(notice: Notice, history: History) -> None:
    noted = history.notice or Notified(at=notice.spool.clock()) if history.notified else None
    if noted is None:
        settle_unrecorded(notice)
    elif notice.kind is NoticeKind.RELAY:
        _send_on(notice, noted)


def settle_unrecorded(notice: Notice) -> bool:
    """Discard a notice that the message with which it lies does not record.

    It is sent if another message records it: the operator has retried or deleted the first one.
    False: it cannot be sent now.
    """
    noted = _recorded_by_others(notice)
    if noted is not None:
        return _send_on(notice, noted)
    notice.discard()
    return True


def _recorded_by_others(notice: Notice) -> Notified | None:
    others, message = notice.others(), notice.id()
    for path in (notice.spool.envelope(other, stage) for other in others for stage in Stage):
        octets = regular_files.read(path)
        noted = None if octets is None else history_in(octets).notice
        if noted is not None and noted.notice == message:
            return noted
    return None


def _send_on(notice: Notice, noted: Notified) -> bool:
    if not all(_record_other(notice.spool, other, noted) for other in notice.others()):
        return False  # another process has the message now: the next sweep goes on
    notice.move_on()
    notice.spool.report(Recovered(id=notice.about, what="notice of failure sent on"))
    return True


def _record_other(spool: Spool, message: QueueId, noted: Notified) -> bool:
    """Record the notification of another message; False if a process has it now."""
    locked = lock(spool, message, Stage.FAILED)
    if locked is None:
        return not files.is_there(spool.envelope(message, Stage.FAILED))
    with locked:
        history = history_of(locked)
        again = history.failed is not None and history.failed.at > noted.at
        if not history.notified and not again:
            record(locked, noted)
    return True


def present(spool: Spool) -> Iterator[Notice]:
    """Yield all notices under ``.dsn/``."""
    try:
        found = files.listed(spool.directories.notices)
    except FileNotFoundError:
        return
    for name in found:
        about, _, kind = name.rpartition(".")
        if kind in set(NoticeKind):
            yield Notice(spool, QueueId(about), NoticeKind(kind))
