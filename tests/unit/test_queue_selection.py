"""The operator's choice of messages, and their lines in a listing."""

import re
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address, Envelope
from emailrelay.history_query import HistoryQuery
from emailrelay.journal import Attempt, Entry, Failure
from emailrelay.queue.row import row
from emailrelay.queue.selection import Selection, parse_age, parse_id, trace_query
from emailrelay.queue.state import State, stages_of, state_of
from emailrelay.queue.totals import Totals, totals
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage
from emailrelay.store.queue_view import Listed, QueueEntry, StageCount, arrived
from emailrelay.terminal.human import octets, span

NOW = 1_700_000_000.0
ANN, BOB = Address("Ann@X.test"), Address("bob@y.test")
ENVELOPE = Envelope(sender=ANN, to_remote=(BOB, Address("cat@z.test")))


def entry(*journal: Entry, stage: Stage = Stage.READY, sender: str = ANN) -> QueueEntry:
    return QueueEntry(listed(stage), ENVELOPE._replace(sender=Address(sender)), journal)


def listed(
    stage: Stage = Stage.READY, *, since: float = NOW, message: str = "1699999000000.1.1"
) -> Listed:
    return Listed(id=QueueId(message), stage=stage, since=since, size=10)


@pytest.mark.parametrize(
    ("stage", "next_attempt", "state"),
    [
        (Stage.READY, None, State.READY),
        (Stage.READY, NOW - 1, State.READY),
        (Stage.READY, NOW + 60, State.DEFERRED),
        (Stage.UNFILTERED, NOW + 60, State.DEFERRED),
        (Stage.UNFILTERED, NOW, State.UNFILTERED),
        (Stage.FAILED, NOW + 60, State.FAILED),
        (Stage.HELD, NOW + 60, State.HELD),
    ],
)
def test_working_message_with_a_later_try_is_deferred(
    stage: Stage, next_attempt: float | None, state: State
) -> None:
    assert state_of(stage, next_attempt, NOW) is state


@given(st.sets(st.sampled_from(State)))
def test_every_message_in_a_chosen_state_is_at_a_chosen_stage(states: set[State]) -> None:
    stages = stages_of(frozenset(states))
    for stage in Stage:
        for later in (None, NOW + 60):
            if not states or state_of(stage, later, NOW) in states:
                assert stage in stages


def test_time_of_arrival_is_in_an_id_of_ours_else_it_is_the_files() -> None:
    assert arrived(listed(message="1699999000500.1.1")) == 1699999000.5
    assert arrived(listed(message="12.34.x", since=77.0)) == 77.0
    original = "4711.1699999000.3"  # process, time, number
    assert arrived(listed(message=original, since=77.0)) == 77.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1.5h", 5400), ("5d", 432000), ("2w", 1209600)],
)
def test_ages_are_read_in_their_units(text: str, seconds: float) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "d", "-5d", "5x", "5 d", "٣d", "1e9d"])
def test_other_ages_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape("15m")):
        parse_age(text)


@pytest.mark.parametrize(
    "text",
    [
        "1.2.3",
        "emailrelay.1.2.3.content",
        "emailrelay.1.2.3.envelope",
        "/var/spool/emailrelay/emailrelay.1.2.3.envelope.bad",
    ],
)
def test_file_names_are_ids_too(text: str) -> None:
    assert parse_id(text) == "1.2.3"
    assert trace_query(text, NOW) == HistoryQuery(id=QueueId("1.2.3"), since=NOW)


@pytest.mark.parametrize("text", ["ann@x.test", "1.2.3@x.test", "192.0.2.7", "emailrelay.1.2.3"])
def test_other_texts_are_words_to_search_for(text: str) -> None:
    assert trace_query(text, None) == HistoryQuery(text=text)


def test_selectors_must_all_agree() -> None:
    selection = Selection(states=frozenset({State.READY}), older=500.0)
    assert selection.fits_listed(listed(), NOW)
    assert not selection.fits_listed(listed(Stage.HELD), NOW)
    assert not selection.fits_listed(listed(message="1699999999000.1.1"), NOW)
    assert not Selection(ids=frozenset({QueueId("1.1.1")})).fits_listed(listed(), NOW)
    assert Selection().fits_listed(listed(), NOW)


@pytest.mark.parametrize(
    ("sender", "recipient", "matches"),
    [
        ("ann@x.test", None, True),
        ("*@x.test", None, True),
        ("ann", None, False),
        ("<>", None, False),
        (None, "BOB@y.test", True),
        (None, "*@z.test", True),
        (None, "*@x.test", False),
        ("*@x.test", "nobody@y.test", False),
    ],
)
def test_addresses_are_matched_whole_without_case(
    sender: str | None, recipient: str | None, *, matches: bool
) -> None:
    assert Selection(sender=sender, recipient=recipient).fits_entry(entry()) is matches


def test_null_sender_can_be_asked_for() -> None:
    notice = entry(sender="")
    assert Selection(sender="<>").fits_entry(notice)
    assert not Selection(sender="?*").fits_entry(notice)


def test_unreadable_message_is_unknown_to_conditions_on_its_envelope() -> None:
    damaged = QueueEntry(listed(), None, (), "garbage")
    assert Selection(sender="*").fits_entry(damaged) is None
    assert Selection(older=1.0).fits_entry(damaged) is True


def test_reply_is_chosen_by_a_part_of_it_or_by_its_group() -> None:
    reply = Reply(451, "4.7.1 <bob@y.test>: Greylisted for 297 seconds")
    waiting = entry(Attempt(at=NOW, peer="mx:25", replies={BOB: reply}))
    for text in (
        "451",
        "greylisted",
        "451 4.7.1 <…>: Greylisted for … seconds",
        "for ... sec",
        "4.7.?",
    ):
        assert Selection(reply=text).fits_entry(waiting), text
    assert not Selection(reply="452").fits_entry(waiting)


def test_age_is_chosen_between_two_ends() -> None:
    assert Selection(older=500.0, newer=2000.0).fits_listed(listed(), NOW)
    assert not Selection(newer=500.0).fits_listed(listed(), NOW)


def test_route_is_that_of_the_pending_recipients() -> None:
    seen: list[tuple[str, ...]] = []

    def routes_of(_envelope: Envelope, pending: Collection[Address]) -> Collection[str]:
        seen.append(tuple(pending))
        return {"isp"}

    done = entry(Attempt(at=NOW, peer="mx:25", replies={BOB: Reply(250, "ok")}))
    assert Selection(route="isp", routes_of=routes_of).fits_entry(done)
    assert not Selection(route="other", routes_of=routes_of).fits_entry(done)
    assert seen == [("cat@z.test",)] * 2
    assert Selection(routes_of=routes_of).empty


def test_row_tells_the_refusal_rather_than_the_success() -> None:
    replies = {BOB: Reply(250, "ok"), Address("cat@z.test"): Reply(451, "4.3.0 busy")}
    waiting = entry(
        Accepted(at=NOW - 90, stage=Stage.READY, length=10, crc32=0),
        Attempt(at=NOW - 30, peer="mx:25", replies=replies, next_attempt=NOW + 30),
    )
    told = row(waiting, NOW)
    assert told.state is State.DEFERRED
    assert told.pending == ("cat@z.test",)
    assert told.last_reply == "451 4.3.0 busy"
    assert told.next_attempt == NOW + 30
    assert told.arrived == NOW - 90


def test_row_of_a_failure_tells_its_reason() -> None:
    reason = Reply(554, "5.4.7 too old")
    failure = Failure(at=NOW, stage=Stage.READY, reason=reason)
    told = row(entry(failure, stage=Stage.FAILED), NOW)
    assert (told.state, told.last_reply) == (State.FAILED, "554 5.4.7 too old")


def test_census_counts_every_message_once() -> None:
    census = totals(
        [
            StageCount(Stage.READY, later=True, messages=1, octets=10, oldest=NOW),
            StageCount(Stage.FAILED, later=False, messages=2, octets=30, oldest=NOW - 5),
        ]
    )
    assert census["deferred"].messages == 1
    assert census["failed"].messages == 2
    assert census["ready"].messages == 0
    assert census["all"] == Totals(messages=3, octets=40, oldest=NOW - 5)


@given(st.floats(min_value=-1e9, max_value=1e10))
def test_any_span_is_short(seconds: float) -> None:
    assert re.fullmatch(r"[0-9]{1,6} (?:s|min|h|days)", span(seconds))


@given(st.integers(min_value=0, max_value=10**18))
def test_any_size_is_short_and_has_its_unit(size: int) -> None:
    assert re.fullmatch(r"[0-9.]{1,6} (?:octets?|[KMGT]iB)", octets(size))
