"""Claiming a message by its name: its envelope is locked, read and judged.

A damaged message is set aside; a wish of an operator is carried out.
"""

import os
import stat
from typing import NamedTuple

from emailrelay import envelope_format, journal, journal_format
from emailrelay.ack import Ack
from emailrelay.errors import DamagedMessage
from emailrelay.events.delivery import Withdrawn
from emailrelay.events.store import Recovered, SetAside
from emailrelay.journal import History
from emailrelay.message_end import MessageEnd
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.schedule import is_due, was_set_back
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.spool.disk import file_octets, files, locks
from emailrelay.store.spool.message import adoption, delivery_wait, moves, rewriting, waiting
from emailrelay.store.spool.message.claim import LOOK_AGAIN_AT_TROUBLE, SpoolClaim
from emailrelay.store.spool.message.moves import Locked
from emailrelay.store.spool.message.open_content import open_content
from emailrelay.store.spool.message.spool import Spool
from emailrelay.store.transition import Change

_LOOK_AGAIN = 5.0
"""Seconds until a message that another process has claimed is tried again: that process may die."""
_LONGEST_ALONE = 3600.0
"""Seconds at most until a message that cannot be settled is tried again."""


class NotNow(NamedTuple):
    """The message cannot be claimed before ``due``, or (None) not at all: it is gone."""

    due: float | None


def take(spool: Spool, stage: Stage, message: QueueId, *, due_only: bool) -> SpoolClaim | NotNow:
    """Claim a message by its name, or say when to look again."""
    path = spool.envelope(message, stage)
    try:
        named = locks.lock_with_status(path)
        if named is None:
            gone = not files.exists(path)
            return NotNow(None if gone else spool.clock() + _LOOK_AGAIN)
        locked = moves.locked(spool, message, stage, path, named)
        try:
            claim = _take_locked(locked, named[1], due_only=due_only)
        except BaseException:
            locked.release()
            raise
    except OSError as error:
        spool.trouble(f"claim {path}", error)
        return _put_off(spool, message, LOOK_AGAIN_AT_TROUBLE)
    if isinstance(claim, NotNow):
        locked.release()
    return claim


def _put_off(spool: Spool, message: QueueId, pause: float) -> NotNow:
    """Put a message off for so many seconds; its file does not say so to the next scan."""
    spool.put_off[message] = due = spool.clock() + pause
    return NotNow(due)


def _take_locked(locked: Locked, status: os.stat_result, *, due_only: bool) -> SpoolClaim | NotNow:
    if status.st_uid != locked.spool.user and locked.spool.is_strange(locked.id, status):
        at = locked.spool.envelope(locked.id, locked.stage)
        return _left_alone(locked, f"its content is another user's than its envelope: remove {at}")
    anew = status.st_size > rewriting.LONG and rewriting.shorten(locked)
    if not rewriting.can_be_written(locked, status):
        alone = _made_ours(locked)
        if alone is not None:
            return alone
        anew = True
    return _judge(locked, os.fstat(locked.descriptor) if anew else status, due_only=due_only)


def _judge(locked: Locked, status: os.stat_result, *, due_only: bool) -> SpoolClaim | NotNow:
    spool = locked.spool
    if status.st_size > file_octets.LARGEST_ENVELOPE:
        return _set_aside(locked, f"envelope: {status.st_size} octets")
    octets = file_octets.read_known(locked.descriptor, status.st_size)
    locked.whole = len(octets) if octets.endswith(b"\n") else 0
    vouched_for = not status.st_mode & stat.S_ISVTX
    try:
        file = envelope_format.parse(octets)
    except DamagedMessage as error:
        return _set_aside(locked, str(error)) if vouched_for else _withdraw(locked)
    entries = journal_format.parse(file.tail)
    history = journal.read(entries)
    if not vouched_for and history.accepted_at is None:
        return _withdraw(locked)  # torn behind the end mark
    now, stage = spool.clock(), locked.stage
    by_hand = transition.after_move_by_hand(stage=stage, history=history, now=now)
    if by_hand is not None:
        if _goes_elsewhere(locked, by_hand):
            return NotNow(None)
        entries += by_hand.entries
        history = journal.read(by_hand.entries, history)
    wished = transition.after_wish(history.wish, stage=stage, history=history, now=now)
    if wished is not None:
        moves.make(locked, wished)
        return NotNow(None)
    due = _not_before(history, status, now) if due_only else None
    if due is not None:
        return NotNow(due)
    ack = _awaited(locked, history)
    if history.ack is Ack.DELIVERED and ack is Ack.STORED:
        return _withdraw(locked)
    if locked.stage is Stage.UNFILTERED and adoption.roll_forward(locked):
        return NotNow(None)
    found = open_content(locked.content, history)
    if isinstance(found, str):
        return _set_aside(locked, found)
    return SpoolClaim(
        locked, file.envelope, history, entries, content=found, ack=ack, read=len(octets)
    )


def _withdraw(locked: Locked) -> NotNow:
    """Remove a message whose client was not told 250, and has gone: it sends it again."""
    moves.leave(locked, transition.gone(MessageEnd.WITHDRAWN), moves.remove)
    adoption.discard(locked.spool, locked.id)
    delivery_wait.refuse(locked.spool, locked.id)
    locked.spool.report(Withdrawn(id=locked.id))
    return NotNow(None)


def _goes_elsewhere(locked: Locked, by_hand: Change) -> bool:
    """Make the change that follows a move by hand; True: the message is at another stage now.

    Quarantine looks like such a move if a process died before its last step, which is done here.
    """
    stage = locked.stage
    if stage is Stage.UNFILTERED and adoption.roll_forward(locked):
        return True
    moves.make(locked, by_hand)
    return by_hand.stage is not stage


def _made_ours(locked: Locked) -> NotNow | None:
    """Replace an envelope that this user may only read by a copy.

    Without that no settlement could be recorded, so nothing is delivered before. If this user may
    not replace it either, the message is left alone, each time for longer.
    """
    spool, message = locked.spool, locked.id
    try:
        rewriting.make_anew(locked)
    except PermissionError as error:
        return _left_alone(locked, f"this user may neither write nor replace its envelope: {error}")
    spool.left_alone.pop(message, None)
    spool.report(Recovered(id=message, what="an envelope that may only be read was made again"))
    return None


def _left_alone(locked: Locked, reason: str) -> NotNow:
    spool, message = locked.spool, locked.id
    alone = spool.left_alone.get(message)
    if alone is None:
        spool.trouble(f"work on {message}", reason)
    alone = min(_LONGEST_ALONE, LOOK_AGAIN_AT_TROUBLE if alone is None else 2 * alone)
    spool.left_alone[message] = alone
    return _put_off(spool, message, alone)


def _not_before(history: History, status: os.stat_result, now: float) -> float | None:
    """Return the time until which a message waits; None: it is due."""
    if was_set_back(status.st_ctime, now):
        return None
    return None if is_due(history.next_attempt, now) else history.next_attempt


def _awaited(locked: Locked, history: History) -> Ack:
    """Return what a client waits for. A forwarder does not answer for the filters."""
    if history.ack.at(locked.stage) is Ack.STORED:
        return Ack.STORED
    locked.wait = waiting.look_for(locked.spool, locked.id, history.ack)
    return Ack.STORED if locked.wait is None else locked.wait.ack


def _set_aside(locked: Locked, reason: str) -> NotNow:
    """Put a damaged entry out of the way, with its reason, once."""
    damage = Reply.of(550, f"5.6.0 damaged in the spool: {reason}")
    failed = journal.Failure(at=locked.spool.clock(), stage=locked.stage, reason=damage)
    locked.append(journal_format.write(failed))
    locked.rename(Stage.FAILED)
    locked.spool.report(SetAside(id=locked.id, reason=reason))
    return NotNow(None)
