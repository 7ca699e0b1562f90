"""The rules by which messages change their state."""

import pytest

from emailrelay.envelope import Address
from emailrelay.journal import (
    AdministratorWish,
    Attempt,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    History,
    Released,
    Wished,
    read,
)
from emailrelay.message_end import MessageEnd
from emailrelay.reply import Reply
from emailrelay.settlement import Defer, Done, Fail, Hold, Pass
from emailrelay.stage import Stage
from emailrelay.store import transition
from emailrelay.store.transition import GIVEN_UP, Change, gone

NOW = 1000.0
BOB = Address("bob@example.net")
TAKEN = Attempt(at=NOW, peer="mail.test:25", replies={BOB: Reply(250, "2.0.0 ok")})
LATER = Attempt(at=NOW, peer="mail.test:25", trouble=Reply(451, "4.4.1 away"), next_attempt=1060.0)
REFUSED = Reply(550, "5.1.1 no such user")
FAILED = Failure(at=NOW, stage=Stage.READY, reason=REFUSED)


@pytest.mark.parametrize(
    ("settlement", "change"),
    [
        (Done(), gone(MessageEnd.DELIVERED)),
        (Defer(LATER), Change((LATER,), Stage.READY, 1060.0)),
        (Fail(REFUSED), Change((FAILED,), Stage.FAILED)),
        (Fail(REFUSED, TAKEN), Change((TAKEN, FAILED), Stage.FAILED)),
        (Hold(), Change((Held(at=NOW, stage=Stage.READY),), Stage.HELD)),
        (Hold("odd"), Change((Held(at=NOW, stage=Stage.READY, reason="odd"),), Stage.HELD)),
    ],
)
def test_settlement_without_a_wish(settlement: Defer | Done | Fail | Hold, change: Change) -> None:
    found = transition.after_settlement(
        settlement, None, stage=Stage.READY, history=History(), now=NOW
    )
    assert found == change


@pytest.mark.parametrize("settlement", [Defer(TAKEN), Fail(REFUSED, TAKEN)])
@pytest.mark.parametrize(
    ("wish", "entries", "stage"),
    [
        (AdministratorWish.HOLD, (Held(at=NOW, stage=Stage.READY),), Stage.HELD),
        (
            AdministratorWish.FAIL,
            (Failure(at=NOW, stage=Stage.READY, reason=GIVEN_UP),),
            Stage.FAILED,
        ),
        (AdministratorWish.RETRY, (Released(at=NOW),), Stage.READY),
        (AdministratorWish.DELETE, (), None),
    ],
)
def test_wish_takes_precedence_and_the_attempt_is_recorded_first(
    settlement: Defer | Fail,
    wish: AdministratorWish,
    entries: tuple[Entry, ...],
    stage: Stage | None,
) -> None:
    found = transition.after_settlement(
        settlement, wish, stage=Stage.READY, history=History(), now=NOW
    )
    assert (found.entries, found.stage) == ((TAKEN, *entries), stage)


def test_delivered_message_goes_whatever_the_operator_wished() -> None:
    found = transition.after_settlement(
        Done(), AdministratorWish.HOLD, stage=Stage.READY, history=History(), now=NOW
    )
    assert found == gone(MessageEnd.DELIVERED)


def test_only_unfiltered_mail_passes_the_filters() -> None:
    found = transition.after_filters(Stage.UNFILTERED, Pass(), length=3, crc32=7, now=NOW)
    assert found == Change((Filtered(at=NOW, length=3, crc32=7),), Stage.READY, 0.0)
    with pytest.raises(ValueError, match="ready"):
        transition.after_filters(Stage.READY, Pass(), length=3, crc32=7, now=NOW)


@pytest.mark.parametrize(
    ("wish", "stage", "origin", "change"),
    [
        (None, Stage.READY, Stage.READY, None),
        (AdministratorWish.HOLD, Stage.HELD, Stage.READY, None),
        (AdministratorWish.FAIL, Stage.FAILED, Stage.READY, None),
        (
            AdministratorWish.HOLD,
            Stage.FAILED,
            Stage.UNFILTERED,
            Change((Held(at=NOW, stage=Stage.UNFILTERED),), Stage.HELD),
        ),
        (
            AdministratorWish.FAIL,
            Stage.HELD,
            Stage.UNFILTERED,
            Change((Failure(at=NOW, stage=Stage.UNFILTERED, reason=GIVEN_UP),), Stage.FAILED),
        ),
        (
            AdministratorWish.RETRY,
            Stage.HELD,
            Stage.UNFILTERED,
            Change((Released(at=NOW),), Stage.UNFILTERED, 0.0),
        ),
        (
            AdministratorWish.RETRY,
            Stage.FAILED,
            None,
            Change((Released(at=NOW),), Stage.READY, 0.0),
        ),
        (AdministratorWish.DELETE, Stage.FAILED, Stage.READY, gone(MessageEnd.DELETED)),
    ],
)
def test_wish_at_a_stage(
    wish: AdministratorWish | None, stage: Stage, origin: Stage | None, change: Change | None
) -> None:
    history = History(stage=origin)
    assert transition.after_wish(wish, stage=stage, history=history, now=NOW) == change


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("wish", AdministratorWish)
def test_wish_is_granted_once(wish: AdministratorWish, stage: Stage) -> None:
    change = transition.after_wish(wish, stage=stage, history=History(), now=NOW)
    if change is not None:
        asked = History(wish=wish)
        assert wish is AdministratorWish.DELETE or read(change.entries, asked).wish is None


def test_flush_is_for_deferred_mail_only() -> None:
    deferred = History(next_attempt=NOW + 60)
    found = transition.after_flush(stage=Stage.READY, history=deferred, now=NOW)
    assert found == Change((Flushed(at=NOW),), Stage.READY, 0.0)
    assert transition.after_flush(stage=Stage.READY, history=History(), now=NOW) is None
    assert transition.after_flush(stage=Stage.HELD, history=deferred, now=NOW) is None


@pytest.mark.parametrize(
    ("stage", "entries", "change"),
    [
        (Stage.READY, (), None),
        (Stage.FAILED, (FAILED,), None),
        (Stage.READY, (FAILED,), Change((Released(at=NOW),), Stage.READY)),
        (
            Stage.READY,
            (Held(at=NOW, stage=Stage.UNFILTERED),),
            Change((Released(at=NOW),), Stage.UNFILTERED, 0.0),
        ),
        (
            Stage.UNFILTERED,
            (Held(at=NOW, stage=Stage.UNFILTERED), Wished(at=NOW, wish=AdministratorWish.FAIL)),
            Change((Released(at=NOW),), Stage.UNFILTERED),
        ),
    ],
)
def test_name_that_an_administrator_changed_by_hand(
    stage: Stage, entries: tuple[Entry, ...], change: Change | None
) -> None:
    found = transition.after_move_by_hand(stage=stage, history=read(entries), now=NOW)
    assert found == change
