"""Claiming a message by its name: its envelope is locked, read and judged.

What is damaged is set aside; what has been decided about it meanwhile is done.
"""

import os
from typing import NamedTuple

from emailrelay import envelope_format, journal
from emailrelay.ack import Ack
from emailrelay.errors import DamagedMessage
from emailrelay.events import SetAside, Withdrawn
from emailrelay.journal import History
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import is_due, was_set_back
from emailrelay.stage import Stage
from emailrelay.store.spool import adoption, files, moves, waiting
from emailrelay.store.spool.claim import LOOK_AGAIN_AT_TROUBLE, SpoolClaim
from emailrelay.store.spool.moves import Locked
from emailrelay.store.spool.spool import Spool

_LOOK_AGAIN = 5.0
"""Seconds until a message that another process has claimed is looked at again: it may die."""


class NotNow(NamedTuple):
    """The message cannot be claimed before ``due``, or (None) not at all: it is gone."""

    due: float | None


def take(spool: Spool, stage: Stage, message: QueueId, *, due_only: bool) -> SpoolClaim | NotNow:
    """Claim a message by its name, or say when to look again."""
    path = spool.envelope(message, stage)
    try:
        named = files.lock_with_status(path)
        if named is None:
            gone = not files.exists(path)
            return NotNow(None if gone else spool.clock() + _LOOK_AGAIN)
        descriptor, status = named
        locked = Locked(spool, message, stage, descriptor)
        try:
            claim = _take_locked(locked, status, due_only=due_only)
        except BaseException:
            locked.release()
            raise
    except OSError as error:
        spool.trouble(f"claim {path}", error)
        return NotNow(spool.clock() + LOOK_AGAIN_AT_TROUBLE)
    if isinstance(claim, NotNow):
        locked.release()
    return claim


def _take_locked(locked: Locked, status: os.stat_result, *, due_only: bool) -> SpoolClaim | NotNow:
    spool, message = locked.spool, locked.id
    if status.st_size > files.LARGEST_ENVELOPE:
        return _set_aside(locked, f"envelope: {status.st_size} octets")
    octets = files.read_known(locked.descriptor, status.st_size)
    try:
        file = envelope_format.parse(octets)
    except DamagedMessage as error:
        return _set_aside(locked, str(error))
    history = moves.standing(locked, journal.read(journal.parse(file.tail)))
    if history is None or moves.obey(locked, history.wish):
        return NotNow(None)
    due = _not_before(history, status, spool.clock()) if due_only else None
    if due is not None:
        return NotNow(due)
    ack = _awaited(locked, history)
    if history.ack is Ack.DELIVERED and ack is Ack.STORED:
        # The client has gone, or was never told 250 before a crash: it will send the message again.
        moves.remove(locked)
        spool.report(Withdrawn(id=message))
        return NotNow(None)
    if locked.stage is Stage.UNFILTERED and adoption.roll_forward(locked):
        return NotNow(None)
    opened = files.open_with_status(spool.content(message))
    if opened is None:
        return _set_aside(locked, "content: missing")
    content, size = opened[0], opened[1].st_size
    if history.length not in (None, size) and not history.released:
        os.close(content)
        return _set_aside(locked, f"content: {size} octets, {history.length} were accepted")
    return SpoolClaim(
        locked, file.envelope, history, content=content, size=size, ack=ack, read=len(octets)
    )


def _not_before(history: History, status: os.stat_result, now: float) -> float | None:
    """Tell until when a message waits; None: it is due."""
    if was_set_back(status.st_ctime, now):
        return None
    return None if is_due(history.next_attempt, now) else history.next_attempt


def _awaited(locked: Locked, history: History) -> Ack:
    """Tell what a client waits for. The filters' verdict is not the forwarder's to give."""
    spoken = history.ack is Ack.FILTERED and locked.stage is Stage.READY
    if history.ack is Ack.STORED or spoken:
        return Ack.STORED
    locked.wait = waiting.look_for(locked.spool, locked.id)
    return Ack.STORED if locked.wait is None else locked.wait.ack


def _set_aside(locked: Locked, reason: str) -> NotNow:
    """Put a damaged entry out of the way, with its reason, once."""
    damage = Reply.of(550, f"5.6.0 damaged in the spool: {reason}")
    failed = journal.Failed(at=locked.spool.clock(), stage=locked.stage, reason=damage)
    locked.append(journal.write(failed))
    locked.rename(Stage.FAILED)
    locked.spool.report(SetAside(id=locked.id, reason=reason))
    return NotNow(None)
