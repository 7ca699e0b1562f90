"""The settlement of a delivery attempt, for every pattern of answers."""

from itertools import product

import pytest

from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, History
from emailrelay.reply import Reply
from emailrelay.schedule import Schedule
from emailrelay.settlement import (
    Defer,
    Done,
    Fail,
    after_attempt,
    after_skip,
    after_trouble,
    refusals_final,
)

A, B, C = Address("a@x.test"), Address("b@x.test"), Address("c@x.test")
ENVELOPE = Envelope(sender=Address("s@x.test"), to_local=(A,), to_remote=(B, C))
OK, LATER, NEVER = Reply(250, "2.0.0 ok"), Reply(451, "4.3.0 later"), Reply(550, "5.1.1 nobody")
ANSWERS = [OK, LATER, NEVER, None]
PATTERNS = list(product(ANSWERS, repeat=3))
SCHEDULE = Schedule()
NOW = 1_000_000.0
YOUNG = History(accepted_at=NOW - 10, started_at=NOW - 10)
OLD = History(accepted_at=NOW - SCHEDULE.max_age, started_at=NOW - SCHEDULE.max_age)


def tried(*answers: Reply | None, trouble: Reply | None = None) -> Attempt:
    replies = {who: reply for who, reply in zip((A, B, C), answers, strict=False) if reply}
    return Attempt(at=NOW, peer="p", replies=replies, trouble=trouble)


def decide(attempt: Attempt, history: History = YOUNG, envelope: Envelope = ENVELOPE) -> object:
    return after_attempt(envelope, history, attempt, schedule=SCHEDULE, chance=0.0)


@pytest.mark.parametrize("answers", PATTERNS)
def test_every_pattern_of_answers(answers: tuple[Reply | None, ...]) -> None:
    attempt = tried(*answers)
    settlement = decide(attempt)
    if LATER in answers or None in answers:
        assert settlement == Defer(
            Attempt(at=NOW, peer="p", replies=attempt.replies, next_attempt=NOW + 60)
        )
    elif NEVER in answers:
        assert isinstance(settlement, Fail)
        assert settlement.attempt == attempt
        assert settlement.reason.code == 550
        first = (A, B, C)[answers.index(NEVER)]
        assert f"5.1.1 nobody <{first}>" in settlement.reason.text
    else:
        assert settlement == Done(attempt)


@pytest.mark.parametrize("answers", PATTERNS)
def test_every_pattern_of_answers_for_a_message_that_is_too_old(
    answers: tuple[Reply | None, ...],
) -> None:
    attempt = tried(*answers)
    settlement = decide(attempt, OLD)
    if set(answers) == {OK}:
        assert settlement == Done(attempt)
    else:
        assert isinstance(settlement, Fail)
        assert settlement.attempt == attempt
        gave_up = LATER in answers or None in answers
        assert settlement.reason.code == (554 if gave_up else 550)


@pytest.mark.parametrize("before", PATTERNS)
def test_what_earlier_attempts_settled_counts(before: tuple[Reply | None, ...]) -> None:
    earlier = tried(*before).replies
    history = History(
        started_at=NOW - 10,
        attempts=1,
        delivered={a: r for a, r in earlier.items() if r.accepted},
        refused={a: r for a, r in earlier.items() if r.permanent},
    )
    rest = history.pending(ENVELOPE)
    now = Attempt(at=NOW, peer="p", replies=dict.fromkeys(rest, OK))
    settlement = decide(now, history)
    if NEVER in before:
        assert isinstance(settlement, Fail)
        assert settlement.reason.code == 550
    else:
        assert settlement == Done(now)


def test_number_of_refused_recipients_is_told() -> None:
    settlement = decide(tried(OK, NEVER, Reply(553, "5.1.3 bad")))
    assert isinstance(settlement, Fail)
    assert settlement.reason == Reply(550, f"5.1.1 nobody <{B}> (and 1 more)")


def test_reply_that_names_the_recipient_is_not_given_the_name_again() -> None:
    said = Reply(550, f"5.1.1 <{B}>: no such user")
    settlement = decide(tried(OK, said, OK))
    assert isinstance(settlement, Fail)
    assert settlement.reason == said


def test_pause_grows_with_the_attempts_before() -> None:
    history = History(started_at=NOW - 10, attempts=3)
    settlement = decide(tried(LATER, LATER, LATER), history)
    assert isinstance(settlement, Defer)
    assert settlement.attempt.next_attempt == NOW + 480


def test_recipient_named_twice_needs_one_answer() -> None:
    envelope = Envelope(sender=Address(""), to_remote=(A, A))
    assert decide(tried(OK), envelope=envelope) == Done(tried(OK))


def test_answer_for_another_address_decides_nothing() -> None:
    stranger = {Address("x@x.test"): OK}
    settlement = decide(Attempt(at=NOW, peer="p", replies=stranger))
    assert isinstance(settlement, Defer)


def test_age_of_a_message_without_history_begins_now() -> None:
    settlement = decide(tried(LATER, LATER, LATER), History())
    assert isinstance(settlement, Defer)


def test_last_answer_is_told_when_the_message_is_given_up() -> None:
    settlement = decide(tried(OK, None, None, trouble=Reply(421, "4.3.2 closing")), OLD)
    assert isinstance(settlement, Fail)
    assert settlement.reason.code == 554
    assert "421 4.3.2 closing" in settlement.reason.text
    assert "5 days" in settlement.reason.text
    settlement = decide(tried(OK, None, None), OLD)
    assert isinstance(settlement, Fail)
    assert f"<{B}>" in settlement.reason.text


@pytest.mark.parametrize(("history", "kind"), [(YOUNG, Defer), (OLD, Fail), (History(), Defer)])
def test_trouble_defers_until_the_message_is_too_old(
    history: History, kind: type[Defer | Fail]
) -> None:
    settlement = after_trouble(
        history, LATER, now=NOW, peer="filter", schedule=SCHEDULE, chance=0.0
    )
    assert isinstance(settlement, kind)
    match settlement:
        case Defer(attempt):
            assert attempt.next_attempt == NOW + 60
            assert (attempt.peer, attempt.trouble, attempt.replies) == ("filter", LATER, {})
        case Fail(reason, attempt):
            assert reason.code == 554
            assert "451 4.3.0 later" in reason.text
            assert attempt is not None
            assert attempt.trouble == LATER


@pytest.mark.parametrize("answers", PATTERNS)
def test_without_retry_only_unanswered_recipients_are_tried_again(
    answers: tuple[Reply | None, ...],
) -> None:
    settlement = decide(refusals_final(tried(*answers)))
    if None in answers:
        assert isinstance(settlement, Defer)
    elif set(answers) == {OK}:
        assert settlement == Done(tried(*answers))
    else:
        assert isinstance(settlement, Fail)
        assert settlement.reason.permanent


def test_without_retry_a_deferral_is_noted_as_a_refusal_in_the_servers_words() -> None:
    final = refusals_final(tried(OK, LATER, NEVER))
    assert final.replies[A] == OK
    assert final.replies[C] == NEVER
    assert final.replies[B].permanent
    assert "451 4.3.0 later" in final.replies[B].text


@pytest.mark.parametrize("history", [YOUNG, OLD])
def test_skipped_mail_waits_however_old_it_is(history: History) -> None:
    settlement = after_skip(history, LATER, now=NOW, peer="f", schedule=SCHEDULE, chance=0.0)
    assert settlement.attempt.next_attempt == NOW + 60


SOON = Schedule(first=10, factor=1, longest=10, max_age=100, spread=0)
SLOW = Schedule(first=60, factor=1, longest=60, max_age=1000, spread=0)


def routed(
    replies: dict[Address, Reply], *, started: float = 0, at: float = 50
) -> Defer | Fail | Done:
    settlement = after_attempt(
        ENVELOPE,
        History(accepted_at=started, started_at=started),
        Attempt(at=at, peer="p", replies=replies),
        schedules={A: SOON, B: SLOW},
        schedule=SLOW,
        chance=0,
    )
    assert isinstance(settlement, Defer | Fail | Done)
    return settlement


def test_a_message_comes_again_when_the_first_of_its_routes_says_so() -> None:
    both = routed({A: LATER, B: LATER, C: OK})
    assert isinstance(both, Defer)
    assert both.attempt.next_attempt == 60

    slow = routed({A: OK, B: LATER, C: LATER})
    assert isinstance(slow, Defer)
    assert slow.attempt.next_attempt == 110


def test_a_recipient_is_given_up_when_its_own_time_is_over() -> None:
    first = routed({A: LATER, B: LATER, C: OK}, at=200)
    assert isinstance(first, Defer)
    assert first.attempt.next_attempt == 260
    given_up = first.attempt.replies[A]
    assert given_up.code == 554
    assert str(LATER) in given_up.text
    assert first.attempt.replies[B] == LATER


def test_a_message_fails_when_the_time_of_all_is_over() -> None:
    assert isinstance(routed({A: LATER, B: LATER, C: OK}, at=2000), Fail)
    assert isinstance(routed({}, at=2000), Fail)


def test_a_message_is_done_when_all_recipients_have_it() -> None:
    assert isinstance(routed({A: OK, B: OK, C: OK}), Done)
    assert isinstance(routed({A: OK, B: NEVER, C: OK}), Fail)
