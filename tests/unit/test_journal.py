"""Journals keep the history, and skip lines that are torn, foreign or forged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay import short_journal
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import (
    AdministratorWish,
    Answered,
    Attempt,
    Doubted,
    Entry,
    Failure,
    Filtered,
    Held,
    History,
    Notified,
    Released,
    Wished,
    read,
)
from emailrelay.journal_format import parse, write
from emailrelay.reply import Reply
from emailrelay.stage import Stage

TIMES = st.floats(0, 1e11, allow_nan=False)
NUMBERS = st.integers(0, 2**63)
TEXT = st.text(st.characters(), max_size=60)
REPLIES = st.builds(Reply.of, st.integers(200, 599), TEXT)
STAGES = st.sampled_from(Stage)
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    st.builds(
        Accepted,
        at=TIMES,
        stage=STAGES,
        length=NUMBERS,
        crc32=NUMBERS,
        ack=st.sampled_from(Ack),
        session=TEXT,
        notice=st.integers(0, 2),
    ),
    st.builds(Answered, at=TIMES),
    st.builds(Filtered, at=TIMES, length=NUMBERS, crc32=NUMBERS),
    st.builds(
        Attempt,
        at=TIMES,
        peer=TEXT,
        replies=st.dictionaries(TEXT.map(Address), REPLIES, max_size=3),
        trouble=st.none() | REPLIES,
        next_attempt=st.none() | TIMES,
        tries=st.integers(0, 100),
    ),
    st.builds(Failure, at=TIMES, stage=STAGES, reason=REPLIES),
    st.builds(Held, at=TIMES, stage=STAGES),
    st.builds(Released, at=TIMES),
    st.builds(Doubted, at=TIMES, peer=TEXT),
    st.builds(Wished, at=TIMES, wish=st.sampled_from(AdministratorWish)),
    st.builds(Notified, at=TIMES),
)

A, B, C = Address("a@x.test"), Address("b@x.test"), Address("c@x.test")
ENVELOPE = Envelope(sender=Address(""), to_local=(A,), to_remote=(B, C, B))
OK, LATER, NEVER = Reply(250, "ok"), Reply(451, "later"), Reply(550, "never")


@given(st.lists(ENTRIES, max_size=5))
def test_entries_are_read_back_as_written(entries: list[Entry]) -> None:
    assert parse(b"".join(map(write, entries))) == entries


@given(ENTRIES)
def test_entry_is_whole_lines_of_plain_characters(entry: Entry) -> None:
    octets = write(entry)
    assert octets.endswith(b"\r\n")
    lines = octets.split(b"\r\n")[:-1]
    assert len(lines) == (3 if isinstance(entry, Failure) else 1)
    assert all(line.startswith(b"X-MailRelay-") for line in lines)
    assert all(32 <= octet != 127 for line in lines for octet in line)
    assert lines[-1].isascii()


@given(st.lists(ENTRIES, min_size=1, max_size=3), ENTRIES, st.data())
def test_torn_append_hides_nothing_before_or_after_it(
    before: list[Entry], torn: Entry, data: st.DataObject
) -> None:
    whole = write(torn)
    rest = whole[: data.draw(st.integers(0, len(whole) - 3))]
    start = b"".join(map(write, before))
    assert parse(start + rest) == before
    # The next append begins with CRLF where the last octet is not LF (docs/spool.md).
    gap = b"" if rest.endswith(b"\n") or not rest else b"\r\n"
    assert parse(start + rest + gap + write(torn)) == [*before, torn]


@given(st.lists(ENTRIES, max_size=3), st.binary(max_size=200))
def test_garbage_is_passed_over(entries: list[Entry], garbage: bytes) -> None:
    found = parse(garbage + b"\r\n" + b"".join(map(write, entries)))
    assert found[len(found) - len(entries) :] == entries


@pytest.mark.parametrize(
    "line",
    [
        b"X-MailRelay-Filtered: " + b"[" * 100_000,
        b'X-MailRelay-Filtered: {"at":1,"length":1e999,"crc32":1}',
        b'X-MailRelay-Filtered: {"at":NaN,"length":1,"crc32":1}',
        b'X-MailRelay-Filtered: {"at":1,"length":' + b"9" * 5000 + b',"crc32":1}',
        b'X-MailRelay-Filtered: {"at":1,"length":' + b"9" * 4000 + b',"crc32":1}',
        b'X-MailRelay-Filtered: {"at":1,"length":-1,"crc32":1}',
        b'X-MailRelay-Filtered: {"at":1e400,"length":1,"crc32":1}',
        b'X-MailRelay-Attempt: {"at":1,"peer":"p","tries":' + b"9" * 4000 + b"}",
        b'X-MailRelay-Accepted: {"at":1,"stage":"ready","length":1e300,"crc32":1}',
        b'X-MailRelay-Attempt: {"at":1,"peer":"p","next":NaN}',
        b'X-MailRelay-Attempt: {"at":1,"peer":"p","next":Infinity}',
        b'X-MailRelay-Attempt: {"at":1,"peer":"p","replies":[]}',
        b'X-MailRelay-Attempt: {"at":1,"peer":"p","replies":{"a":250}}',
        b'X-MailRelay-Attempt: {"at":1}',
        b"X-MailRelay-Released: 7",
        b"X-MailRelay-Released: null",
        b"X-MailRelay-Released:",
        b'X-MailRelay-Released: {"at":1} ,',
        b'X-MailRelay-Unknown: {"at":1}',
        b'Released: {"at":1}',
        b' X-MailRelay-Released: {"at":1}',
        b'X-MailRelay-Wished: {"at":1,"wish":"fly"}',
        b'X-MailRelay-Held: {"at":1,"stage":"nowhere"}',
        b"X-MailRelay-Reason: free words",
        b"",
    ],
    ids=lambda line: line[:60].decode(),
)
def test_line_that_says_nothing_sensible_is_passed_over(line: bytes) -> None:
    assert parse(line + b"\r\n" + write(Released(at=2.0))) == [Released(at=2.0)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\u2028", "\x85", "\0"])
def test_no_text_of_others_becomes_a_line(end: str) -> None:
    forged = f"x{end}X-MailRelay-Released: {{}}{end}X-MailRelay-End: 1{end}"
    reply = Reply.of(550, forged)
    entries: list[Entry] = [
        Attempt(at=1.0, peer=forged, replies={Address(forged): reply}, trouble=reply),
        Failure(at=1.0, stage=Stage.READY, reason=reply),
        Doubted(at=1.0, peer=forged),
    ]
    octets = b"".join(map(write, entries))
    assert parse(octets) == entries
    assert octets.count(b"\n") == 5


def test_lines_of_a_unix_editor_are_read() -> None:
    entries: list[Entry] = [Released(at=1.0), Notified(at=2.0)]
    assert parse(b"".join(map(write, entries)).replace(b"\r\n", b"\n")) == entries


def test_failure_is_also_told_to_older_tools() -> None:
    octets = write(Failure(at=1.0, stage=Stage.READY, reason=Reply(550, "5.1.1 nö")))
    assert octets.startswith(
        "X-MailRelay-Reason: 5.1.1 nö\r\nX-MailRelay-ReasonCode: 550\r\n".encode()
    )


@given(st.lists(ENTRIES, max_size=8))
def test_delivered_recipients_stay_delivered_whatever_follows(entries: list[Entry]) -> None:
    delivered: set[Address] = set()
    history = History()
    for entry in entries:
        history = read([entry], history)
        assert delivered <= history.delivered.keys()
        delivered = set(history.delivered)
    assert read(entries) == history


LONG = 500
"""Lines of a journal that a stranger has written, or that many tries have made."""


@pytest.mark.parametrize(
    "entries",
    [
        [Doubted(at=1.0, peer=f"p{n}") for n in range(LONG)],
        [Attempt(at=1.0, peer="p", replies={Address(f"{n}@x"): OK}) for n in range(LONG)],
        [Attempt(at=1.0, peer="p", replies={Address(f"{n}@x"): NEVER}) for n in range(LONG)],
    ],
)
def test_long_journal_copies_nothing_for_each_line(
    monkeypatch: pytest.MonkeyPatch, entries: list[Entry]
) -> None:
    copied, original = list[int](), History._replace

    def noted(history: History, **facts: Any) -> History:
        copied.extend(len(facts.get(name, ())) for name in ("delivered", "refused", "doubts"))
        return original(history, **facts)

    monkeypatch.setattr(History, "_replace", noted)
    history = read(entries)
    assert len(history.delivered) + len(history.refused) + len(history.doubts) == LONG
    assert sum(copied) <= 2 * LONG
    copied.clear()
    shortened = short_journal.shorten(b"".join(map(write, entries)).split(b"\r\n"))
    assert shortened is not None
    assert read(parse(shortened)) == history
    assert sum(copied) <= 4 * LONG


@given(st.lists(ENTRIES, max_size=8))
def test_journal_is_read_the_same_in_parts(entries: list[Entry]) -> None:
    for middle in range(len(entries)):
        assert read(entries[middle:], read(entries[:middle])) == read(entries)


def _tried(at: float = 1.0, next_attempt: float | None = None, **replies: Reply) -> Attempt:
    names = {"a": A, "b": B, "c": C}
    return Attempt(
        at=at,
        peer="p",
        replies={names[name]: reply for name, reply in replies.items()},
        next_attempt=next_attempt,
    )


ACCEPTED = Accepted(at=10.0, stage=Stage.UNFILTERED, length=5, crc32=6)
FAILED = Failure(at=9.0, stage=Stage.READY, reason=NEVER)
PENDING: list[tuple[list[Entry], tuple[Address, ...]]] = [
    ([], (A, B, C)),
    ([_tried(a=OK)], (B, C)),
    ([_tried(a=LATER, b=NEVER)], (A, C)),
    ([_tried(a=OK), _tried(b=OK), _tried(c=OK)], ()),
    ([_tried(a=OK, b=NEVER, c=LATER), Released(at=2.0)], (B, C)),
    ([_tried(a=OK), _tried(a=LATER)], (B, C)),
    ([_tried(a=OK), Filtered(at=2.0, length=1, crc32=1)], (B, C)),
]


@pytest.mark.parametrize(("entries", "pending"), PENDING)
def test_pending_are_those_neither_accepted_nor_refused(
    entries: list[Entry], pending: tuple[Address, ...]
) -> None:
    assert read(entries).pending(ENVELOPE) == pending


def test_schedule_begins_at_acceptance_and_anew_at_release() -> None:
    entries: list[Entry] = [ACCEPTED, _tried(20.0, 30.0), _tried(30.0, 50.0)]
    history = read(entries)
    assert (history.started_at, history.attempts, history.next_attempt) == (10.0, 2, 50.0)
    history = read([*entries, FAILED, Released(at=60.0)])
    assert (history.started_at, history.attempts, history.next_attempt) == (60.0, 0, None)
    assert (history.accepted_at, history.failed) == (10.0, None)


def test_age_of_another_programs_message_counts_from_its_first_attempt() -> None:
    assert read([_tried(20.0), _tried(30.0)]).started_at == 20.0


def test_filtered_message_is_ready_with_its_new_length() -> None:
    history = read([ACCEPTED, _tried(20.0, 30.0), Filtered(at=40.0, length=7, crc32=8)])
    assert (history.stage, history.length, history.crc32) == (Stage.READY, 7, 8)
    assert (history.attempts, history.next_attempt, history.started_at) == (0, None, 10.0)


def test_wish_lasts_until_something_answers_it() -> None:
    wished = Wished(at=1.0, wish=AdministratorWish.HOLD)
    assert read([wished, _tried(2.0)]).wish is AdministratorWish.HOLD
    assert (
        read([wished, Wished(at=2.0, wish=AdministratorWish.DELETE)]).wish
        is AdministratorWish.DELETE
    )
    answers: list[Entry] = [FAILED, Held(at=2.0, stage=Stage.READY), Released(at=2.0)]
    for answer in answers:
        assert read([wished, answer]).wish is None


def test_failure_and_hold_remember_where_the_message_stood() -> None:
    assert read([ACCEPTED, FAILED]).stage is Stage.READY
    history = read([ACCEPTED, Held(at=1.0, stage=Stage.UNFILTERED)])
    assert (history.stage, history.held) == (Stage.UNFILTERED, True)
