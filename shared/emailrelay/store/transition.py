"""The transitions of a message's state: the rules that every store follows.

The rules take values and return a ``Change``. A store makes a change in this order: the entries go
to the journal, the message moves to its stage, and its due time is announced. ``store.base`` has
the table of states.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from emailrelay import journal
from emailrelay.journal import (
    AdministratorWish,
    Attempt,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    History,
    Moving,
    Released,
)
from emailrelay.message_end import MessageEnd
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass, Settlement
from emailrelay.stage import Stage

GIVEN_UP = Reply(554, "5.0.0 given up by the operator")
"""The reason of a message that the operator failed."""
_AT_WORK = (Stage.UNFILTERED, Stage.READY)
_AT_ONCE = 0.0
_FIRST = (AdministratorWish.DELETE, AdministratorWish.FAIL, AdministratorWish.MOVE)


@dataclass(frozen=True, slots=True)
class Change:
    """The next state of a message."""

    entries: tuple[Entry, ...]
    """Lines for its journal, in this order; of a message that leaves, for its record only."""
    stage: Stage | None
    """Its stage from now on; None: it leaves the store."""
    due: float | None = None
    """When work on it may begin (seconds since 1970; 0: at once); None: as before."""
    end: MessageEnd | None = None
    """How it leaves the store."""

    @property
    def delivers(self) -> bool:
        """True: it records a delivery."""
        attempts = [entry for entry in self.entries if isinstance(entry, Attempt)]
        return any(reply.accepted for each in attempts for reply in each.replies.values())


def gone(end: MessageEnd, attempt: Attempt | None = None) -> Change:
    """Return the change by which a message leaves the store; ``attempt`` ended it, if any did."""
    return Change(() if attempt is None else (attempt,), None, end=end)


def after_refusal(settlement: Settlement) -> Change:
    """Return the change of a message whose waiting client was told a negative answer.

    ``settlement`` would have followed without that client; its attempt is kept in the record.
    """
    attempt = settlement.attempt if isinstance(settlement, Defer | Done | Fail) else None
    return gone(MessageEnd.REFUSED, attempt)


def after_settlement(
    settlement: Defer | Done | Fail | Hold,
    wish: AdministratorWish | None,
    *,
    stage: Stage,
    history: History,
    now: float,
) -> Change:
    """Return the change that ends a claim; ``wish`` came from the operator while it lasted.

    The attempt counts first, since its deliveries must be recorded. Then the wish takes precedence
    over the rest of the settlement.
    """
    settled = _settled(settlement, stage=stage, now=now)
    if wish is None or settled.stage is None:
        return settled
    noted = tuple(entry for entry in settled.entries if isinstance(entry, Attempt))
    wished = after_wish(wish, stage=stage, history=journal.read(noted, history), now=now)
    if wished is None:
        return settled
    return Change((*noted, *wished.entries), wished.stage, wished.due, wished.end)


def _settled(settlement: Defer | Done | Fail | Hold, *, stage: Stage, now: float) -> Change:
    match settlement:
        case Done(attempt, end):
            return gone(end, attempt)
        case Defer(attempt):
            return Change((attempt,), stage, attempt.next_attempt or _AT_ONCE)
        case Fail(reason, attempt):
            attempts = () if attempt is None else (attempt,)
            return Change((*attempts, Failure(at=now, stage=stage, reason=reason)), Stage.FAILED)
        case Hold(reason):
            return Change((Held(at=now, stage=stage, reason=reason),), Stage.HELD)
        case _:
            assert_never(settlement)


def passed_beside(wish: AdministratorWish | None, passed: Pass) -> Pass:
    """Return a pass with the quarantine that is left of it beside an operator's wish.

    An operator who deletes, fails or moves it meanwhile comes first. One who only asks for another
    try does not end a quarantine that has just begun.
    """
    return replace(passed, quarantine=None) if wish in _FIRST else passed


def counts_late(wish: AdministratorWish, history: History) -> bool:
    """Tell if a wish counts that came while a message failed or was set aside; see above."""
    return wish in _FIRST or not history.held_for


def after_filters(stage: Stage, passed: Pass, *, length: int, crc32: int, now: float) -> Change:
    """Return the change of a message that passed its filters; its content now has these measures.

    With a quarantine it is held for its reason, and needs no filters when it is released.

    Raises:
        ValueError: the message was not waiting for filters.

    """
    if stage is not Stage.UNFILTERED:
        raise ValueError(f"only an unfiltered message can pass the filters; this one is {stage}")
    # The count of tries begins anew with the filters' acceptance, so the refusals come before it.
    refused = () if passed.refused is None else (passed.refused,)
    entries = (*refused, Filtered(at=now, length=length, crc32=crc32))
    if passed.quarantine is None:
        return Change(entries, Stage.READY, _AT_ONCE)
    held = Held(at=now, stage=Stage.READY, reason=passed.quarantine)
    return Change((*entries, held), Stage.HELD)


def after_wish(
    wish: AdministratorWish | None, *, stage: Stage, history: History, now: float
) -> Change | None:
    """Return the change that an operator asked for; None: there is nothing to change."""
    match wish:
        case None:
            return None
        case AdministratorWish.DELETE:
            return gone(MessageEnd.DELETED)
        case AdministratorWish.HOLD if stage is Stage.HELD:
            return None
        case AdministratorWish.HOLD:
            return Change((Held(at=now, stage=_origin(stage, history)),), Stage.HELD)
        case AdministratorWish.FAIL if stage is Stage.FAILED:
            return None
        case AdministratorWish.FAIL:
            failed = Failure(at=now, stage=_origin(stage, history), reason=GIVEN_UP)
            return Change((failed,), Stage.FAILED)
        case AdministratorWish.RETRY:
            return Change((Released(at=now),), _origin(stage, history), _AT_ONCE)
        case AdministratorWish.MOVE if stage is Stage.HELD and history.moving is not None:
            return None
        case AdministratorWish.MOVE:
            return Change((Moving(at=now, stage=stage),), Stage.HELD)
        case AdministratorWish.ARRIVE:
            return _after_arrival(stage, history)
        case _:
            assert_never(wish)


def _after_arrival(stage: Stage, history: History) -> Change | None:
    """Return the change at the end of a move: the stage and the schedule of before."""
    moving = history.moving
    if stage is not Stage.HELD or moving is None or moving.stage is Stage.HELD:
        return None
    return Change((), moving.stage, history.next_attempt or _AT_ONCE)


def after_flush(*, stage: Stage, history: History, now: float) -> Change | None:
    """Return the change that makes a deferred message due now; None: it is not deferred."""
    if stage not in _AT_WORK or history.next_attempt is None:
        return None
    return Change((Flushed(at=now),), stage, _AT_ONCE)


def after_move_by_hand(*, stage: Stage, history: History, now: float) -> Change | None:
    """Return the change that follows when an administrator has renamed an envelope; None: none has.

    A rename does not write a journal. A failed or held message at a working stage was
    released. A ready message whose journal says unfiltered goes to the filters first.
    """
    if stage not in _AT_WORK:
        return None
    entries = (Released(at=now),) if history.failed is not None or history.held else ()
    skipped = stage is Stage.READY and history.stage is Stage.UNFILTERED
    if skipped:
        return Change(entries, Stage.UNFILTERED, _AT_ONCE)
    return Change(entries, stage) if entries else None


def _origin(stage: Stage, history: History) -> Stage:
    """Return the stage at which a message is worked on.

    The envelope of another program has no journal, so that only its name tells.
    """
    if stage in _AT_WORK:
        return stage
    return history.stage or Stage.READY
