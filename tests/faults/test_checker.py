"""The checker finds each violation, and nothing where all is well."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest
from tests.acceptance.sink import Arrival, record_of
from tests.acceptance.source import Mail
from tests.faults.checker import (
    Client,
    Doubts,
    Violation,
    at_any_time,
    in_the_end,
    proxied,
)
from tests.faults.states import FILES, PRIVATE, Illegal, State, states

ID = "1700000000000.1.1"
OTHER = "1700000000000.1.2"
ACCEPTED = b"X-MailRelay-End: 1\r\nX-MailRelay-Accepted: {}\r\n"
FAILED = ACCEPTED + b"X-MailRelay-Reason: no\r\n"
SPOOL_PAGE = Path(__file__).parents[2] / "docs" / "spool.md"

Put: TypeAlias = Callable[[Mapping[str, bytes]], Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Make a spool of these files; a name that ends in ``/`` is a directory."""

    def make(files: Mapping[str, bytes]) -> Path:
        for directory in (".new", ".work", ".wake", ".doubt", ".waiting", ".dsn"):
            (tmp_path / directory).mkdir()
        for name, octets in files.items():
            if name.endswith("/"):
                (tmp_path / name).mkdir()
            else:
                (tmp_path / name).write_bytes(octets)
        return tmp_path

    return make


def content(number: int) -> bytes:
    """Give the content as the receiver would write it."""
    return b"Received: from x\r\n\tby y id 1; z\r\n" + sent(number)


def sent(number: int) -> bytes:
    """Give the content as a client sends it, with the line end that SMTP demands."""
    whole = Mail(number, size=100).content
    return whole if whole.endswith(b"\r\n") else whole + b"\r\n"


def pair(message: str, suffix: str, number: int, envelope: bytes = ACCEPTED) -> dict[str, bytes]:
    return {
        f"emailrelay.{message}.envelope{suffix}": envelope,
        f"emailrelay.{message}.content": content(number),
    }


def draft(number: int, envelope: bytes = ACCEPTED) -> dict[str, bytes]:
    return {f".new/{name}": octets for name, octets in pair(ID, "", number, envelope).items()}


def arrival(number: int, queue_id: str = ID, recipients: tuple[str, ...] = ("to@x",)) -> Arrival:
    return record_of("a@x", list(recipients), _received(queue_id) + sent(number), "1")


def _received(queue_id: str) -> bytes:
    return f"Received: from x\r\n\tby y with ESMTP id {queue_id};\r\n\tdate\r\n".encode()


def invariants(found: list[Violation]) -> list[str]:
    return [violation.invariant for violation in found]


TOLD = Client(accepted={"mail-2"})
DRAFTS = [
    {".new/emailrelay.1.1.1.envelope"},
    {".new/emailrelay.1.1.1.envelope", ".new/emailrelay.1.1.1.content"},
    {".new/emailrelay.1.1.1.envelope", "emailrelay.1.1.1.content"},
]


@pytest.mark.parametrize("names", DRAFTS)
def test_a_draft_is_one_until_its_envelope_has_moved(names: set[str]) -> None:
    assert states(names) == {"1.1.1": State.DRAFT}


@pytest.mark.parametrize(
    ("suffix", "state"),
    [
        ("", State.READY),
        (".filter", State.UNFILTERED),
        (".bad", State.FAILED),
        (".hold", State.HELD),
    ],
)
def test_the_suffix_is_the_state(suffix: str, state: State) -> None:
    assert states(pair("1.1.1", suffix, 2)) == {"1.1.1": state}


def test_content_may_be_missing_only_while_a_result_becomes_the_message() -> None:
    adopting = {"emailrelay.1.1.1.envelope.filter", ".work/1.1.1.adopt"}
    assert states(adopting) == {"1.1.1": State.UNFILTERED}
    for suffix, work in (("filter", "run"), ("hold", "adopt")):
        with pytest.raises(Illegal):
            states({f"emailrelay.1.1.1.envelope.{suffix}", f".work/1.1.1.{work}"})


def test_the_states_are_those_of_the_page() -> None:
    table = re.findall(r"^\| (S\d)[ ,]", SPOOL_PAGE.read_text(), re.MULTILINE)
    assert {*table, "gone"} == set(State)


def test_the_other_names_are_those_of_the_page() -> None:
    page = SPOOL_PAGE.read_text()
    section = page[page.index("## The other names") : page.index("## The envelope file")]
    directories = re.findall(r"^\| `(\.[a-z]+)` \|", section, re.MULTILINE)
    assert set(directories) == {".new", ".work", ".waiting", ".dsn"} | PRIVATE
    assert all(f"`{name}`" in section for name in FILES)


@pytest.mark.parametrize("suffix", ["", ".filter", ".hold"])
def test_what_waits_is_not_lost(put: Put, suffix: str) -> None:
    assert at_any_time(put(pair(ID, suffix, 2)), TOLD, []) == []


def test_a_committed_draft_is_not_lost(put: Put) -> None:
    assert at_any_time(put(draft(2)), TOLD, []) == []


def test_what_arrived_is_not_lost(put: Put) -> None:
    assert in_the_end(put({}), TOLD, [arrival(2)]) == []


def test_what_failed_with_a_reason_is_not_lost(put: Put) -> None:
    assert at_any_time(put(pair(ID, ".bad", 2, FAILED)), TOLD, []) == []


def test_what_is_neither_there_nor_arrived_is_lost(put: Put) -> None:
    assert invariants(in_the_end(put({}), TOLD, [arrival(3)])) == ["I1"]


def test_what_failed_without_a_reason_is_lost(put: Put) -> None:
    assert invariants(at_any_time(put(pair(ID, ".bad", 2)), TOLD, [])) == ["I1"]


def test_an_unfinished_draft_is_no_message(put: Put) -> None:
    assert invariants(at_any_time(put(draft(2, envelope=b"")), TOLD, [])) == ["I1"]


def test_a_message_that_became_two_is_found(put: Put) -> None:
    spool = put(pair(ID, "", 2) | pair(OTHER, "", 2))
    assert invariants(at_any_time(spool, TOLD, [])) == ["I1"]


@pytest.mark.parametrize("octets", [b"", content(2)[:-50], content(2) + b"x", content(3)[:-2]])
def test_a_content_that_is_not_whole_is_found(put: Put, octets: bytes) -> None:
    spool = put(pair(ID, "", 2) | {f"emailrelay.{ID}.content": octets})
    assert "I2" in invariants(at_any_time(spool, Client(), []))
    assert "I1" in invariants(at_any_time(spool, TOLD, []))


def test_an_arrival_that_was_changed_is_found(put: Put) -> None:
    changed = record_of("a@x", ["to@x"], sent(2)[:-20], "1")
    assert invariants(in_the_end(put({}), TOLD, [changed])) == ["I2"]


def test_an_edit_too_many_is_found(put: Put) -> None:
    found = in_the_end(put({}), TOLD, [arrival(2)], edits=lambda a: a.all("X-Relayed") == ["once"])
    assert invariants(found) == ["I2"]


def test_a_duplicate_without_a_crash_is_found(put: Put) -> None:
    twice = [arrival(2), arrival(2)]
    assert invariants(in_the_end(put({}), TOLD, twice)) == ["I3", "I3"]


def test_a_duplicate_that_the_log_does_not_name_is_found(put: Put) -> None:
    found = in_the_end(put({}), TOLD, [arrival(2), arrival(2)], Doubts(1, {OTHER}))
    assert invariants(found) == ["I3"]


def test_more_duplicates_than_connections_that_died_are_found(put: Put) -> None:
    twice = [arrival(2), arrival(2), arrival(3, OTHER), arrival(3, OTHER)]
    assert invariants(in_the_end(put({}), TOLD, twice, Doubts(1, None))) == ["I3"]


def test_a_named_duplicate_is_excused(put: Put) -> None:
    assert in_the_end(put({}), TOLD, [arrival(2), arrival(2)], Doubts(1, {ID})) == []


def test_parts_of_a_message_to_several_are_no_duplicates(put: Put) -> None:
    parts = [arrival(2, recipients=("a@x",)), arrival(2, recipients=("b@x", "c@x"))]
    spool = put({})
    assert in_the_end(spool, TOLD, parts) == []
    again = [*parts, arrival(2, recipients=("c@x",))]
    assert set(invariants(in_the_end(spool, TOLD, again))) == {"I3"}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(pair(ID, "", 2) | {f"emailrelay.{ID}.envelope.filter": b""}, id="two states"),
        pytest.param({f"emailrelay.{ID}.envelope": ACCEPTED}, id="no content"),
        pytest.param(draft(2) | pair(ID, "", 2), id="draft and message"),
        pytest.param({f".new/emailrelay.{ID}.content": b"x"}, id="draft without an envelope"),
        pytest.param(draft(2) | {f".work/{ID}.run-7/": b""}, id="copy of a draft"),
        pytest.param(pair(ID, "", 2) | {f"emailrelay.{ID}.envelope.lock": b""}, id="lock file"),
        pytest.param(pair(ID, ".busy", 2), id="another program's state"),
        pytest.param({".odd/": b""}, id="a directory that is not published"),
        pytest.param({".new/x": b""}, id="a foreign draft"),
        pytest.param({f".waiting/{ID}.x": b""}, id="a foreign wait"),
    ],
)
def test_a_state_that_is_not_published_is_found(put: Put, names: Mapping[str, bytes]) -> None:
    assert invariants(at_any_time(put(names), Client(), [])) == ["I4"]


@pytest.mark.parametrize("place", [".work/{}.run-7/", ".work/{}.adopt/"])
def test_copies_beside_a_message_are_published(put: Put, place: str) -> None:
    spool = put(pair(ID, ".filter", 2) | {place.format(ID): b""})
    assert at_any_time(spool, TOLD, []) == []


@pytest.mark.parametrize("place", [".waiting/{}", ".waiting/{}.answer", ".waiting/{}.withdrawn"])
def test_waits_beside_a_message_are_published(put: Put, place: str) -> None:
    assert at_any_time(put(pair(ID, "", 2) | {place.format(ID): b""}), TOLD, []) == []


def test_refused_mail_that_is_there_is_found(put: Put) -> None:
    refused = Client(refused={"mail-2": 451})
    assert invariants(at_any_time(put(pair(ID, "", 2)), refused, [])) == ["I5"]


def test_refused_mail_that_arrived_is_found(put: Put) -> None:
    found = in_the_end(put({}), Client(refused={"mail-2": 451}), [arrival(2)])
    assert invariants(found) == ["I5"]


def test_a_refusal_for_good_is_found(put: Put) -> None:
    assert invariants(in_the_end(put({}), Client(refused={"mail-2": 554}), [])) == ["I5"]


def test_a_refusal_for_now_is_none(put: Put) -> None:
    assert in_the_end(put({}), Client(refused={"mail-2": 452}), []) == []


@pytest.mark.parametrize(
    "names",
    [
        pair(ID, "", 2),
        {f"emailrelay.{ID}.content": content(2)},
        draft(2, envelope=b""),
        {f".work/{ID}.run-7/": b""},
        {f".waiting/{ID}": b""},
    ],
)
def test_whatever_is_left_in_the_end_is_found(put: Put, names: Mapping[str, bytes]) -> None:
    assert "I6" in invariants(in_the_end(put(names), Client(), []))


def test_proxied_mail_that_arrived_leaves_nothing(put: Put) -> None:
    told = Client(accepted={"mail-2"}, refused={"mail-3": 451})
    assert proxied(put({}), told, [arrival(2)]) == []


def test_proxied_mail_that_did_not_arrive_is_found(put: Put) -> None:
    assert invariants(proxied(put({}), TOLD, [])) == ["I7"]


def test_proxied_mail_that_was_refused_and_delivered_is_found(put: Put) -> None:
    told = Client(refused={"mail-2": 550})
    assert invariants(proxied(put({}), told, [arrival(2)])) == ["I7"]


def test_proxied_mail_that_was_refused_in_doubt_is_excused_by_its_name(put: Put) -> None:
    told = Client(refused={"mail-2": 451})
    spool, arrivals = put({}), [arrival(2)]
    assert proxied(spool, told, arrivals, Doubts(1, {arrivals[0].queue_id})) == []
    assert invariants(proxied(spool, told, arrivals, Doubts(1, {"1.1.1"}))) == ["I7"]


def test_proxied_mail_that_arrived_twice_is_found(put: Put) -> None:
    told = Client(accepted={"mail-2"})
    assert set(invariants(proxied(put({}), told, [arrival(2), arrival(2)]))) == {"I3"}


def test_proxied_mail_that_is_kept_is_found(put: Put) -> None:
    assert set(invariants(proxied(put(pair(ID, "", 2)), Client(), []))) == {"I7"}
