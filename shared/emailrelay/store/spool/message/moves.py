"""The moves between states that the holder of a message's lock may make."""

import contextlib
import os
import time
from dataclasses import dataclass

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage
from emailrelay.events import PossibleDuplicate
from emailrelay.journal import AdministratorWish, History
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.spool.disk import files
from emailrelay.store.spool.disk.directory import Location
from emailrelay.store.spool.durable.records import Noted
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.spool.message.waiting import Wait
from emailrelay.store.transition import Change


@dataclass(slots=True)
class Locked:
    """A message whose envelope this process has locked, at the stage that its name told."""

    spool: Spool
    id: QueueId
    stage: Stage
    descriptor: int
    wait: Wait | None = None
    """The client who waits for what becomes of it, once that was looked for."""

    def path(self) -> Location | None:
        """Give the envelope's present place: an administrator may have moved it since it was locked."""
        path = self.spool.envelope(self.id, self.stage)
        if files.is_named(self.descriptor, path):
            return path
        others = (self.spool.envelope(self.id, stage) for stage in Stage)
        return next((path for path in others if files.is_named(self.descriptor, path)), None)

    def rename(self, stage: Stage) -> None:
        """Move to another stage; nothing happens to an envelope moved out of the spool."""
        path = self.path()
        if path is not None:
            files.rename(path, self.spool.envelope(self.id, stage))
            self.stage = stage

    def append(self, lines: bytes) -> None:
        """Append to the journal, whatever the envelope is called by now."""
        descriptor = files.open_for_append(self.descriptor)
        try:
            files.append(descriptor, lines)
        finally:
            os.close(descriptor)

    def noted(self, stage: Stage) -> Noted:
        """Give what the log keeps of the message as it is, on its way to ``stage``."""
        return Noted(self.id, stage, files.read_all(self.descriptor))

    def release(self) -> None:
        """Give up the lock."""
        self.stop_waiting()
        files.unlock_and_close(self.descriptor)

    def stop_waiting(self) -> None:
        """Look no more after the client who waits."""
        wait, self.wait = self.wait, None
        if wait is not None:
            wait.close()


def history_of(locked: Locked) -> History:
    """Read a locked message's journal; of a damaged envelope, the lines that can be told from others."""
    octets = files.read_ends(locked.descriptor)
    try:
        tail = envelope_format.parse(octets).tail
    except DamagedMessage:
        tail = octets
    return journal.history(tail)


def make(locked: Locked, change: Change) -> None:
    """Make a change: journal first, then the name, then the due time."""
    if change.stage is None:
        drop(locked)
        return
    if change.entries:
        locked.append(b"".join(map(journal.write, change.entries)))
    show(locked, change.stage, change.due)


def show(locked: Locked, stage: Stage, due: float | None) -> None:
    """Move the message to its stage, and announce when it is due."""
    if stage is not locked.stage:
        locked.rename(stage)
    if due is not None:
        put_off(locked, due)


def remove(locked: Locked) -> bool:
    """Remove a message for good; False if its envelope is out of reach, moved by somebody."""
    spool, path = locked.spool, locked.path()
    if path is not None:
        files.remove(path)  # the envelope first: a content alone is no message
    elif os.fstat(locked.descriptor).st_nlink:
        return False
    # Removed already, by a try that failed behind it, say. The content may be another envelope's by now.
    if not spool.has_envelope(locked.id):
        files.remove(spool.content(locked.id))
    return True


def drop(locked: Locked) -> None:
    """Remove a message that nobody delivered, so that the log does not bring it back."""
    locked.spool.log.forget(locked.id)
    remove(locked)


def put_off(locked: Locked, due: float) -> None:
    """Note when the message is due next: in the file's time, where scans look, and by the bell.

    With ``due`` 0 the file's time is left alone: the line that was just appended has set it to now.
    """
    if due:
        with contextlib.suppress(PermissionError):  # another user's file: its journal tells
            os.utime(locked.descriptor, (time.time(), due))
    locked.spool.bell.ring(locked.stage, locked.id, due=due)


def grant(locked: Locked, wish: AdministratorWish) -> None:
    """Do what an operator asks for, at whatever stage the message is."""
    change = transition.after_wish(
        wish, stage=locked.stage, history=history_of(locked), now=locked.spool.clock()
    )
    if change is not None:
        make(locked, change)


def flush(locked: Locked) -> bool:
    """Make a deferred message due now; False if it is not deferred."""
    change = transition.after_flush(
        stage=locked.stage, history=history_of(locked), now=locked.spool.clock()
    )
    if change is not None:
        make(locked, change)
    return change is not None


def name_duplicate(spool: Spool, message: QueueId, peer: str) -> None:
    """Name a message whose client has given up while its final dot was perhaps on its way to ``peer``.

    Also in its journal, if it is still there; whoever has claimed it does not mind a further line.
    """
    spool.report(PossibleDuplicate(id=message, peer=peer))
    reading = files.open_regular(spool.envelope(message, Stage.READY))
    if reading is None:
        return
    try:
        writing = files.open_for_append(reading)
        try:
            files.append(writing, journal.write(journal.Doubted(at=spool.clock(), peer=peer)))
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def withdraw(spool: Spool, message: QueueId) -> None:
    """Remove a message that its client no longer waits for, unless somebody is at work on it.

    Whoever is sees before the final dot that nobody waits any more.
    """
    for stage in (Stage.UNFILTERED, Stage.READY):
        descriptor = files.lock_named(spool.envelope(message, stage))
        if descriptor is not None:
            locked = Locked(spool, message, stage, descriptor)
            try:
                drop(locked)
            finally:
                locked.release()
