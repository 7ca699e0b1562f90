"""The moves between states that the holder of a message's lock may make."""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from emailrelay import envelope_format, journal, journal_format
from emailrelay.envelope import NULL_SENDER, Envelope
from emailrelay.envelope_format import EnvelopeFile
from emailrelay.errors import DamagedMessage
from emailrelay.events.store import PossibleDuplicate
from emailrelay.history_record import PastMessage, past
from emailrelay.journal import History
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.spool.disk import file_octets, files, locks, regular_files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable.jobs import NotRecorded, raise_error
from emailrelay.store.spool.message import delivery_wait
from emailrelay.store.spool.message.client_wait import Wait
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.transition import Change


@dataclass(slots=True)
class Locked:
    """A message whose envelope this process has locked, at the stage of its name."""

    spool: Spool
    id: QueueId
    stage: Stage
    at: Location
    """The location where the envelope was locked, or to which it was moved since."""
    content: Location
    descriptor: int
    inode: tuple[int, int]
    """The device and inode of the open envelope."""
    wait: Wait | None = None
    """The client that waits for an answer, once it was looked for."""
    whole: int = 0
    """Octets of the envelope, as it was read, that end with a line."""

    def path(self) -> Location | None:
        """Return the envelope's present location: an administrator may have moved it since."""
        if self._is_at(self.at):
            return self.at
        others = (self.spool.envelope(self.id, stage) for stage in Stage)
        return next(filter(self._is_at, others), None)

    def _is_at(self, path: Location) -> bool:
        try:
            return files.inode_of(files.status_of(path)) == self.inode
        except FileNotFoundError:
            return False

    def rename(self, stage: Stage) -> None:
        """Move to another stage; nothing happens to an envelope moved out of the spool."""
        path, there = self.path(), self.spool.envelope(self.id, stage)
        if path is not None:
            files.rename(path, there)
            self.stage, self.at = stage, there

    def append(self, lines: bytes) -> None:
        """Append to the journal, whatever the envelope's name is now."""
        file_octets.append(self.descriptor, lines, whole=self.whole)

    def __enter__(self) -> Self:
        """Begin a block that has the lock."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give up the lock."""
        self.release()

    def release(self) -> None:
        """Give up the lock."""
        self.stop_waiting()
        locks.unlock_and_close(self.descriptor)

    def stop_waiting(self) -> None:
        """Close the wait of the client."""
        wait, self.wait = self.wait, None
        if wait is not None:
            wait.close()


def lock(spool: Spool, message: QueueId, stage: Stage) -> Locked | None:
    """Lock a message; None: it is not at this stage, or another process has it.

    None, too, for an envelope that a user has put beside the message of another one.
    """
    at = spool.envelope(message, stage)
    found = locks.lock_with_status(at)
    if found is None:
        return None
    try:
        strange = spool.is_strange(message, found[1])
    except BaseException:
        locks.unlock_and_close(found[0])
        raise
    if strange:
        locks.unlock_and_close(found[0])
        return None
    return locked(spool, message, stage, at, found)


def locked(
    spool: Spool, message: QueueId, stage: Stage, at: Location, found: tuple[int, os.stat_result]
) -> Locked:
    """Return a message whose envelope ``at`` was locked as ``locks.lock_with_status`` found it."""
    return Locked(
        spool, message, stage, at, spool.content(message), found[0], files.inode_of(found[1])
    )


def history_of(locked: Locked) -> History:
    """Read a locked message's journal; of a damaged envelope, the lines that can be read."""
    return history_in(file_octets.read_ends(locked.descriptor))


def history_in(octets: bytes) -> History:
    """Read the journal in an envelope file; of a damaged one, the lines that can be read."""
    try:
        tail = envelope_format.parse(octets).tail
    except DamagedMessage:
        tail = octets
    return journal_format.history(tail)


def make(locked: Locked, change: Change) -> None:
    """Make a change: journal first, then the name, then the due time."""
    if change.stage is None:
        leave(locked, change)
        return
    if change.entries:
        try:
            locked.append(b"".join(map(journal_format.write, change.entries)))
        except OSError as error:
            raise NotRecorded.because(error) from error
    show(locked, change.stage, change.due)


def show(locked: Locked, stage: Stage, due: float | None) -> None:
    """Move the message to its stage, and announce when it is due."""
    if stage is not locked.stage:
        locked.rename(stage)
    if due is not None:
        put_off(locked, due)


def show_kept(locked: Locked, stage: Stage, due: float | None, error: OSError | None) -> None:
    """Do ``show`` if what the journal says of it is durable; see ``Durability.keep``."""
    raise_error(error)
    show(locked, stage, due)


def remove(locked: Locked) -> bool:
    """Remove a message; False if its envelope was moved out of reach."""
    spool, path = locked.spool, locked.path()
    if path is not None and _was_removed(path):  # the envelope first: a content alone is no message
        files.remove(locked.content)
        return True
    if path is None and os.fstat(locked.descriptor).st_nlink:
        return False
    # Perhaps an earlier try has removed it. The content may belong to another envelope now.
    if not spool.has_envelope(locked.id):
        files.remove(locked.content)
    return True


def _was_removed(path: Location) -> bool:
    """Remove an envelope; False: an administrator has moved it a moment ago."""
    try:
        files.take_away(path)
    except FileNotFoundError:
        return False
    return True


def drop(locked: Locked) -> None:
    """Remove a message without a delivery, so that the log does not restore it."""
    locked.spool.durability.settlements().forget(locked.id)
    remove(locked)


def leave(locked: Locked, change: Change, removing: Callable[[Locked], object] = drop) -> None:
    """Remove a message, and note its end in the history."""
    message = _past(locked, change) if locked.spool.history.on else None
    removing(locked)
    if message is not None:
        locked.spool.history.add(message)


def _past(locked: Locked, change: Change) -> PastMessage:
    octets = file_octets.read_ends(locked.descriptor)
    try:
        file = envelope_format.parse(octets)
    except DamagedMessage:
        salvaged = envelope_format.salvage(octets) or Envelope(NULL_SENDER)
        file = EnvelopeFile(salvaged, octets)
    return past(
        locked.id,
        file.envelope,
        (*journal_format.parse(file.tail), *change.entries),
        now=locked.spool.clock(),
        end=change.end,
    )


def put_off(locked: Locked, due: float) -> None:
    """Note when the message is due next: in the file's time, for scans, and by a hint.

    With ``due`` 0 the file's time is left alone: the line that was just appended has set it to now.
    """
    if due:
        with contextlib.suppress(PermissionError):  # another user's file: its journal has the time
            os.utime(locked.descriptor, (time.time(), due))
    locked.spool.announcer.announce(locked.stage, locked.id, due=due)


def flush(locked: Locked) -> bool:
    """Make a deferred message due now; False if it is not deferred."""
    change = transition.after_flush(
        stage=locked.stage, history=history_of(locked), now=locked.spool.clock()
    )
    if change is not None:
        make(locked, change)
    return change is not None


def name_duplicate(spool: Spool, message: QueueId, peer: str) -> None:
    """Name a message whose client has given up, while ``peer`` may have got the final dot.

    Its journal gets the line, too, if it is still there; that does not disturb a claim.
    """
    spool.report(PossibleDuplicate(id=message, peer=peer))
    doubted = journal.Doubted(at=spool.clock(), peer=peer)
    reading = regular_files.open_regular(spool.envelope(message, Stage.READY))
    if reading is not None:
        try:
            file_octets.append(reading, journal_format.write(doubted))
        finally:
            os.close(reading)


def withdraw(spool: Spool, message: QueueId) -> None:
    """Remove a message that its client no longer waits for, unless a process has claimed it.

    That process sees before the final dot that no client waits any more.
    """
    for stage in (Stage.UNFILTERED, Stage.READY):
        locked = lock(spool, message, stage)
        if locked is not None:
            with locked:
                leave(locked, transition.gone(MessageEnd.WITHDRAWN))
                delivery_wait.forget(spool, message)
