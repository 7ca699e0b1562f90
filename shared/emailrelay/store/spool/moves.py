"""The moves between states that the holder of a message's lock may make."""

import contextlib
import os
import time
from dataclasses import dataclass

from emailrelay import envelope_format, journal
from emailrelay.errors import DamagedMessage
from emailrelay.events import PossibleDuplicate
from emailrelay.journal import History, Wish
from emailrelay.queue_id import QueueId
from emailrelay.stage import Stage
from emailrelay.store.base import GIVEN_UP
from emailrelay.store.spool import files
from emailrelay.store.spool.directory import Location
from emailrelay.store.spool.spool import Spool
from emailrelay.store.spool.waiting import Wait
from emailrelay.store.spool.wal.records import Noted


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


def standing(locked: Locked, history: History) -> History | None:
    """Settle what the name and the journal say differently; None if the message has moved on by it.

    An administrator's hand moves names, not journals: a failed or held message under a working name
    was released; a ready name over a journal that says unfiltered goes to the filters first.
    """
    if locked.stage not in (Stage.UNFILTERED, Stage.READY):
        return history
    if history.failed is not None or history.held:
        history = release(locked, history)
    if locked.stage is Stage.READY and history.stage is Stage.UNFILTERED:
        locked.rename(Stage.UNFILTERED)
        locked.spool.bell.ring(Stage.UNFILTERED, locked.id)
        return None
    return history


def release(locked: Locked, history: History) -> History:
    """Write into the journal that schedule and age start anew."""
    released = journal.Released(at=locked.spool.clock())
    locked.append(journal.write(released))
    return journal.after(history, released)


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
    """Note when the message is due next: in the file's time, where scans look, and by the bell."""
    with contextlib.suppress(PermissionError):  # another user's file: its journal tells
        os.utime(locked.descriptor, (time.time(), due) if due else None)
    locked.spool.bell.ring(locked.stage, locked.id, due=due)


def obey(locked: Locked, wish: Wish | None) -> bool:
    """Do what an operator asked for, if anything; True if that ended the claim."""
    match wish:
        case None:
            return False
        case Wish.DELETE:
            drop(locked)
        case Wish.HOLD:
            hold(locked)
        case Wish.FAIL:
            fail(locked)
        case Wish.RETRY:
            locked.append(journal.write(journal.Released(at=locked.spool.clock())))
            put_off(locked, 0.0)
    return True


def hold(locked: Locked) -> None:
    """Set the message aside until it is released."""
    # A failed message goes back to where it failed, not among the failed, when it is released.
    failed = locked.stage is Stage.FAILED
    stage = _working_stage(locked, _history(locked)) if failed else locked.stage
    held = journal.Held(at=locked.spool.clock(), stage=stage)
    locked.append(journal.write(held))
    locked.rename(Stage.HELD)


def fail(locked: Locked) -> None:
    """Give the message up."""
    stage = _working_stage(locked, _history(locked))
    failed = journal.Failed(at=locked.spool.clock(), stage=stage, reason=GIVEN_UP)
    locked.append(journal.write(failed))
    locked.rename(Stage.FAILED)


def grant(locked: Locked, wish: Wish) -> None:
    """Do what an operator asks for, at whatever stage the message is."""
    match wish, locked.stage:
        case (Wish.HOLD, Stage.HELD) | (Wish.FAIL, Stage.FAILED):
            return
        case Wish.RETRY, _:
            back_to_work(locked, _history(locked))
        case _:
            obey(locked, wish)


def flush(locked: Locked) -> bool:
    """Make a deferred message due now; False if it is not deferred."""
    history = _history(locked)
    if locked.stage in (Stage.FAILED, Stage.HELD) or history.next_attempt is None:
        return False
    locked.append(journal.write(journal.Flushed(at=locked.spool.clock())))
    put_off(locked, 0.0)
    return True


def _history(locked: Locked) -> History:
    try:
        file = envelope_format.parse(files.read_ends(locked.descriptor))
    except DamagedMessage:  # the operator has mended what he could: the claim will judge it
        return History()
    return journal.read(journal.parse(file.tail))


def _working_stage(locked: Locked, history: History) -> Stage:
    """Tell where a message is worked on. Another program's has no journal, only its name, to say so."""
    if history.stage is not None:
        return history.stage
    return Stage.UNFILTERED if locked.stage is Stage.UNFILTERED else Stage.READY


def back_to_work(locked: Locked, history: History) -> None:
    """Give a failed, held or deferred message another chance, at the stage that it came from."""
    stage = _working_stage(locked, history)
    release(locked, history)
    locked.rename(stage)
    put_off(locked, 0.0)


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
