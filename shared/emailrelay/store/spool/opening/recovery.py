"""Finishes or removes the work of dead processes: drafts, copies, deliveries, waits, notices.

Only files that a free lock proves to be a dead process's are touched, and nothing of another
program is deleted.
"""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emailrelay import journal, journal_format
from emailrelay.errors import RelayError
from emailrelay.events.store import PossibleDuplicate, Recovered
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.queue_uuid import uuid_of
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.spool.disk import files, locks, names
from emailrelay.store.spool.disk.directory import Directory, Location
from emailrelay.store.spool.marks import final_dots
from emailrelay.store.spool.marks.live_writer import LiveWriters
from emailrelay.store.spool.message import adoption, delivery_wait, draft, notice
from emailrelay.store.spool.message.moves import leave, lock
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.opening.closing import close_files
from emailrelay.store.spool.wake.answer_socket import SOCKET

_BUSY_IS_OLD = 600.0
"""Seconds after which an unlocked ``.busy`` envelope of the old program is taken over."""
_ORPHAN_IS_OLD = 3600.0
"""Seconds since a content got its name after which no envelope can follow."""


@dataclass(slots=True)
class Recovery:
    """The repeated sweep of one spool."""

    spool: Spool
    over: bool = False
    """Set to end a sweep in its thread soon; another sweep does the rest."""

    def begin(self) -> None:
        """Sweep for the first time in a process, then close a sticky spool to its members."""
        self.sweep()
        root = self.spool.root
        try:
            if root.in_sticky_spool() and os.fstat(root.fileno()).st_uid == self.spool.user:
                close_files(root, over=lambda: self.over)
        except OSError as error:
            self.spool.trouble("close the spool to members of the group", error)

    def sweep(self) -> None:
        """Finish or undo the work of dead processes. Blocks; for a thread."""
        steps = (
            self._drafts,
            self._copies,
            self._doubts,
            self._waiters,
            self._notices,
            self._names,
            self.spool.syncer.look,
            self.spool.history.sweep,
        )
        for step in steps:
            try:
                step()
            except (OSError, RelayError) as error:
                self.spool.trouble("recover", error)

    def _drafts(self) -> None:
        """S0: complete the whole drafts of dead writers, and remove the others."""
        spool = self.spool
        writers = LiveWriters(spool.directories.doubt)
        for name in sorted(files.listed(spool.directories.drafts)):
            entry, orphan = names.parse(name), names.parse_content(name)
            with self._each(name):
                if entry is not None and writers.has_writer(entry.id):
                    continue
                if entry is not None:
                    self._draft(spool.directories.drafts / name, entry.id)
                elif orphan is not None and not files.exists(
                    spool.directories.drafts / names.draft_envelope(orphan)
                ):
                    # An envelope is made before its content and moved after it, so the writer is
                    # dead; if the envelope was moved just now, so was the content.
                    files.remove(spool.directories.drafts / name)

    def _draft(self, path: Location, message: QueueId) -> None:
        spool = self.spool
        with locks.held(path) as envelope:
            if envelope is None:
                return
            begun = files.exists(spool.directories.drafts / names.content(message))
            stage = draft.roll_forward(spool, message, envelope)
        if stage is not None:
            spool.report(Recovered(id=message, what=f"draft completed: {stage}"))
        elif begun:  # a draft without a content is not worth a report
            spool.report(Recovered(id=message, what="unfinished draft removed"))

    @contextmanager
    def _each(self, name: str) -> Generator[None]:
        """Handle one entry: a bad block, or another user's file, must not stop the others."""
        try:
            yield
        except (OSError, RelayError) as error:
            self.spool.trouble(f"recover {name}", error)

    def _copies(self) -> None:
        """W: remove copies of messages that no process filters; W+ waits for its claim."""
        spool = self.spool
        for name in files.listed(spool.directories.work):
            with self._each(name):
                self._copy(name, QueueId(name.rpartition(".")[0]))

    def _copy(self, name: str, message: QueueId) -> None:
        spool = self.spool
        # Locked until it is removed: a new holder of the message makes a copy under the same name.
        with _unclaimed(spool, message) as free:
            waits = name == names.adopted_copy(message) and spool.stage_of(message) is not None
            if free and (not waits or adoption.is_done(spool, message)):
                files.remove_tree(spool.directories.work / name)

    def _doubts(self) -> None:
        """Handle the unfinished deliveries of dead forwarders."""
        for left in final_dots.left_behind(self.spool.directories.doubt):
            with self._each(left.message):
                if not left.delivered or not self._removed(left.message, left.peer):
                    self._name_duplicate(left.message, left.peer)

    def _name_duplicate(self, message: QueueId, peer: str) -> None:
        """Name a message that may be sent twice, in its journal if that can be locked.

        A message that is gone or claimed again is named, too: another process has sent it.
        """
        spool = self.spool
        locked = lock(spool, message, Stage.READY)
        if locked is not None:
            with locked:
                locked.append(journal_format.write(journal.Doubted(at=spool.clock(), peer=peer)))
        spool.report(PossibleDuplicate(id=message, peer=peer))

    def _removed(self, message: QueueId, peer: str) -> bool:
        """Finish the removal of a delivered message; False if another process has it, or had it.

        If it is gone, its removal may have just ended, or another process may have claimed it and
        sent it once more.
        """
        spool = self.spool
        locked = lock(spool, message, Stage.READY)
        if locked is not None:
            with locked:
                # The replies died with the forwarder.
                delivered = journal.Attempt(at=spool.clock(), peer=peer)
                leave(locked, transition.gone(MessageEnd.DELIVERED, delivered))
        elif files.exists(spool.content(message)) and self._is_alone(message):
            files.remove(spool.content(message))
        else:
            return False
        spool.report(Recovered(id=message, what="removal of a delivered message finished"))
        return True

    def _waiters(self) -> None:
        """Remove the waits (A) of dead receivers, and the marks that ended waits.

        The message's next claim sees that its receiver is dead.
        """
        directories = self.spool.directories
        writers = LiveWriters(directories.doubt)
        for name in files.listed(directories.waiting):
            path = directories.waiting / name
            with self._each(name):
                if name.endswith((delivery_wait.WITHDRAWN, delivery_wait.REPLY, delivery_wait.NEW)):
                    # While its receiver lives, a forwarder may have the message without files.
                    if not writers.has_writer(QueueId(name.rpartition(".")[0])):
                        files.remove(path)
                    continue
                with locks.held(path) as waiter:
                    if waiter is not None:
                        files.remove(path)
        for name in files.listed(directories.wake):
            socket, _, process = name.partition(".")
            if socket == SOCKET and process.isdecimal() and not writers.has_process(process):
                files.remove(directories.wake / name)

    def _notices(self) -> None:
        """N: send a notice that the journal has recorded; the next notifier makes others again."""
        for each in notice.present(self.spool):
            with self._each(each.at.name):
                notice.finish(each)

    def _names(self) -> None:
        """Take over the old program's abandoned claims; remove contents without an envelope."""
        # The two names of a message cancel out, so that not all messages are remembered at once.
        # One with several envelopes is looked at by its names.
        odd, kept = set[QueueId](), set[QueueId]()
        for name in _listed(self.spool.root):
            if self.over:
                return
            message = names.parse_message(name)
            if message is not None and message in odd:
                odd.remove(message)
            elif message is not None:
                odd.add(message)
            elif (busy := names.parse_busy(name)) is not None:
                with self._each(name):
                    self._take_over(busy)
            elif (other := names.parse_other(name)) is not None:
                kept.add(other)
        for message in odd - kept:
            if uuid_of(message) is not None:
                with self._each(names.content(message)):
                    self._remove_orphan(message)

    def _take_over(self, message: QueueId) -> None:
        spool = self.spool
        path = spool.root / names.busy_envelope(message)
        with locks.held(path) as envelope:
            if envelope is None or spool.clock() - os.fstat(envelope).st_mtime < _BUSY_IS_OLD:
                return
            if spool.has_envelope(message):
                return  # it belongs to another message
            files.rename(path, spool.envelope(message, Stage.READY))
            if spool.log.in_use():
                # Before it is claimed: after a power cut, a settlement in the log does not find the
                # old name.
                files.sync_directory(spool.root)
        spool.report(PossibleDuplicate(id=message, peer="unknown"))
        spool.announcer.announce(Stage.READY, message)

    def _remove_orphan(self, message: QueueId) -> None:
        if self._is_old(message) and self._is_alone(message):
            files.remove(self.spool.content(message))
            self.spool.report(Recovered(id=message, what="content without envelope removed"))

    def _is_old(self, message: QueueId) -> bool:
        """Tell if a content was renamed long ago; restarts do not matter."""
        try:
            named = files.status_of(self.spool.content(message)).st_ctime
        except FileNotFoundError:
            return False
        return self.spool.clock() - named >= _ORPHAN_IS_OLD

    def _is_alone(self, message: QueueId) -> bool:
        """Tell if a content has no envelope.

        A listing, or one look at each name, can miss a file that is being renamed: two looks are
        proof.
        """
        spool = self.spool
        drafted = spool.directories.drafts / names.draft_envelope(message)
        return not any(
            files.is_there(drafted) or spool.stage_of(message) is not None for _ in range(2)
        )


@contextmanager
def _unclaimed(spool: Spool, message: QueueId) -> Generator[bool]:
    """Lock a message's envelope at any stage; yield False if another process has the lock."""
    for stage in Stage:
        if not spool.is_at(message, stage):
            continue
        path = spool.envelope(message, stage)
        with locks.held(path) as envelope:
            if envelope is not None:
                yield True
                return
        if files.is_there(path):
            yield False
            return
    yield True


def _listed(directory: Directory) -> Iterator[str]:
    with files.scanned(directory) as entries:
        for entry in entries:
            yield entry.name
