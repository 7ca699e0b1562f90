"""Records of the history, the queries for them, and the time line that shows one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay import history_record
from emailrelay.acceptance import Accepted
from emailrelay.ack import Ack
from emailrelay.dsn_request import DsnRequest, RecipientRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.envelope_format import to_xtext
from emailrelay.history_query import HistoryQuery
from emailrelay.history_record import PastMessage, past
from emailrelay.journal import (
    AdministratorWish,
    Answered,
    Attempt,
    Doubted,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    Moving,
    Notified,
    Released,
    Wished,
)
from emailrelay.message_end import MessageEnd
from emailrelay.queue import time_line
from emailrelay.queue.reply_group import reply_group
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage

ID = QueueId("1795953600000.7.1")
ANN, BOB = Address("ann@x.test"), Address("bob@y.test")
LATER, OK = Reply(451, "4.7.1 greylisted"), Reply(250, "2.0.0 queued as 4F2A")
ACCEPTED = Accepted(at=1795953600.0, stage=Stage.READY, length=374, crc32=1)
EVERY_KIND: tuple[Entry, ...] = (
    ACCEPTED._replace(stage=Stage.UNFILTERED, ack=Ack.FILTERED, session="s"),
    Answered(at=1.0),
    Filtered(at=2.0, length=375, crc32=2),
    Attempt(at=3.0, peer="p:25", replies={ANN: LATER, BOB: LATER}, next_attempt=4.0, tls="TLSv1.3"),
    Attempt(at=3.5, peer="p:25", trouble=Reply(451, "4.4.1 no connection"), tries=3),
    Attempt(at=3.6, peer="", replies={ANN: OK}, tries=0),
    Failure(at=5.0, stage=Stage.READY, reason=Reply(550, "5.1.1 nobody")),
    Held(at=6.0, stage=Stage.READY),
    Moving(at=7.0, stage=Stage.READY, origin="host:/spool"),
    Released(at=8.0),
    Flushed(at=9.0),
    Doubted(at=10.0, peer="p:25"),
    Wished(at=0.0, wish=AdministratorWish.HOLD),
    Notified(at=11.0),
    Notified(at=12.0, told=True, to=(ANN,), notice="1795953600000.7.2"),
    Notified(at=13.0, told=False),
)


def message(*entries: Entry, end: MessageEnd | None = MessageEnd.DELIVERED) -> PastMessage:
    envelope = Envelope(ANN, to_remote=(BOB, BOB), client="192.0.2.1", authentication="alice")
    stage = Stage.READY if end is None else None
    return past(ID, envelope, entries, now=1795953700.0, end=end, stage=stage)


def test_record_with_every_kind_of_entry_is_read_as_it_was_written() -> None:
    written = message(*EVERY_KIND)
    line = history_record.write(written)
    assert line.endswith(b"\n")
    assert line.isascii()
    assert history_record.read(line) == written
    assert (written.recipients, written.size) == ((BOB,), 375)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"v":1}',
        b'{"v":2,"id":"1.2.3","ended":1,"end":"delivered","from":"","to":[],"journal":[]}',
        b'{"v":1,"id":"1.2.3","ended":1,"end":"eaten","from":"","to":[],"journal":[]}',
        b'{"v":1,"id":"1.2.3","ended":NaN,"end":"delivered","from":"","to":[],"journal":[]}',
        b'{"v":1,"id":"1.2.3","ended":1,"end":"delivered","from":"","to":[],"journal":[1]}',
        b'{"v":1,"id":"1.2.3","ended":1,"end":"delivered","from":"","to":3,"journal":[]}',
        b'{"v":1,"id":"1.2.3","ended":1,"end":"delivered","from":"","to":[],"journal":[],"more":'
        b"%s}" % (b"9" * 4000),
    ],
)
def test_line_that_is_no_record_is_none(line: bytes) -> None:
    assert history_record.read(line) is None


def test_entry_of_a_later_version_hides_no_others() -> None:
    value = json.loads(history_record.write(message(ACCEPTED)))
    value["journal"] += [{"event": "Sung", "at": 1}, {"event": "Held"}, {"at": 1}]
    value["tune"] = "new"
    found = history_record.read(json.dumps(value).encode())
    assert found is not None
    assert found.entries == (ACCEPTED,)


@given(st.text(st.characters(max_codepoint=126), max_size=200))
def test_group_of_a_reply_finds_the_messages_that_got_it(text: str) -> None:
    reply = Reply.of(451, f"4.7.1 {text}")
    found = message(Attempt(at=1.0, peer="p:25", replies={BOB: reply}))
    wanted = HistoryQuery(text=reply_group(str(reply)))
    assert wanted.matches(found)
    assert wanted.needle in history_record.write(found).lower()


@pytest.mark.parametrize(
    ("original", "text"),
    [
        ("rfc822;root", "root"),
        ("rfc822;root@h.test", "ROOT@h.test"),
        ("rfc822;ann+2Btag@h.test", "ann+tag@h.test"),
        ("utf-8;zo\\x{EB}@h.test", "h.test"),
    ],
)
def test_name_that_stood_for_a_recipient_finds_the_message(original: str, text: str) -> None:
    dsn = DsnRequest(recipients={BOB: RecipientRequest(original=original)})
    found, wanted = message(ACCEPTED._replace(dsn=dsn)), HistoryQuery(text=text)
    assert wanted.matches(found)
    assert wanted.needle in history_record.write(found).lower()
    assert not wanted.matches(message(ACCEPTED))


texts = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() == text)


PLACES = ("sender", "recipient", "original", "message_id", "user", "client", "reply")


@given(texts, st.sampled_from(PLACES))
def test_record_of_every_message_that_matches_has_the_needle(text: str, place: str) -> None:
    reply = Reply.of(250, f"before {text} after") if place == "reply" else OK
    original = f"rfc822;{to_xtext(f'{text}@z.test')}" if place == "original" else ""
    dsn = DsnRequest(recipients={BOB: RecipientRequest(original=original)})
    found = PastMessage(
        id=ID,
        ended=1.0,
        end=MessageEnd.DELIVERED,
        sender=Address(text.upper() if place == "sender" else "a@x.test"),
        recipients=(Address(f"{text}@y.test" if place == "recipient" else "b@y.test"),),
        message_id=f"<{text}>" if place == "message_id" else "",
        user=text if place == "user" else "",
        client=text if place == "client" else "",
        entries=(ACCEPTED._replace(dsn=dsn), Attempt(at=1.0, peer="p", replies={BOB: reply})),
    )
    wanted = HistoryQuery(text=text)
    if wanted.matches(found):
        assert wanted.needle in history_record.write(found).lower()


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("bob@y.test", True),
        ("bob@y", False),
        ("ob@y.test", False),
        ("y.test", True),
        ("test", False),
        ("bo*@y.test", True),
        ("*@z.test", False),
        ("greylisted", True),
        ("451 4.7.1", True),
        ("452 4.7.1", False),
        ("451 4.7.1 …listed", True),
        ("451 ...listed", True),
        ("…4.7.1…", True),
        ("listed … 451", False),
        ("451 4.7.1 …: no", False),
        ("Alice", True),
        ("192.0.2.1", True),
        ("192.0.2", False),
        ("<>", False),
    ],
)
def test_text_names_whole_addresses_and_parts_of_replies(text: str, *, matches: bool) -> None:
    tried = Attempt(at=1.0, peer="p:25", replies={BOB: LATER})
    assert HistoryQuery(text=text).matches(message(tried)) is matches


def test_bracket_of_an_address_stands_for_itself() -> None:
    literal = message(ACCEPTED)._replace(sender=Address("u@[10.0.0.1]"))
    assert HistoryQuery(text="u@[10.0.0.*]").matches(literal)
    assert not HistoryQuery(text="*@[ab].test").matches(
        literal._replace(sender=Address("u@a.test"))
    )


def test_null_sender_is_found_by_its_name() -> None:
    bounce = message(ACCEPTED)._replace(sender=Address(""))
    assert HistoryQuery(text="<>").matches(bounce)


def test_time_line_tells_every_kind_of_entry_in_a_few_words() -> None:
    told = "\n".join(time_line.lines(message(*EVERY_KIND)))
    for words in (
        "accepted, 374 octets, for the filters first",
        "the client was told 250",
        "passed the filters, 375 octets",
        "try 1 with p:25 (TLSv1.3)",
        "ann@x.test, bob@y.test: 451 4.7.1 greylisted",
        "next try at",
        "tries 2 to 4, the last one with p:25",
        "451 4.4.1 no connection",
        "failed: 550 5.1.1 nobody",
        "held by the operator",
        "moved here from host:/spool",
        "released by the operator",
        "the operator asked for a try now",
        "before the final reply of p:25",
        "the operator asked for hold",
        "the sender was notified",
        "notified of the failure: ann@x.test, by 1795953600000.7.2",
        "the sender cannot be notified",
        "delivered to all recipients",
    ):
        assert words in told
    assert told.startswith(f"Message {ID}: delivered, 375 octets\n")


def test_time_line_of_a_live_message_ends_with_its_state() -> None:
    *_, last = time_line.lines(message(ACCEPTED, end=None))
    assert last.endswith("now ready")
    deferred = Attempt(at=1795953650.0, peer="p:25", trouble=LATER, next_attempt=1795960000.0)
    *_, last = time_line.lines(message(ACCEPTED, deferred, end=None))
    assert last.endswith("now deferred")


def test_filter_that_drops_is_named() -> None:
    dropped = Attempt(at=1.0, peer="/usr/lib/spam")
    told = list(time_line.lines(message(ACCEPTED, dropped, end=MessageEnd.DROPPED)))
    assert any("dropped by /usr/lib/spam" in line for line in told)


def test_many_recipients_are_counted() -> None:
    many = tuple(Address(f"r{n}@y.test") for n in range(50))
    tried = Attempt(at=1.0, peer="p:25", replies=dict.fromkeys(many, OK))
    told = list(time_line.lines(message(tried)._replace(recipients=many, more=5)))
    assert len(told) < 25
    assert any(line.split() == ["to", "45", "more"] for line in told)
    assert any("and 40 more: 250" in line for line in told)


def test_json_has_the_record_and_the_state() -> None:
    value = time_line.as_json(message(ACCEPTED, end=None))
    assert (value["state"], value["live"], value["end"]) == ("ready", True, None)
    value = time_line.as_json(message(ACCEPTED))
    assert (value["state"], value["live"], value["end"]) == ("delivered", False, "delivered")
    assert value["journal"][0]["event"] == "Accepted"
