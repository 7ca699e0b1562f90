"""A journal of fewer lines has the same history."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_journal import ENTRIES

from emailrelay import journal, journal_format, short_journal
from emailrelay.acceptance import Accepted
from emailrelay.envelope import Address
from emailrelay.journal import (
    AdministratorWish,
    Attempt,
    Doubted,
    Entry,
    Failure,
    Filtered,
    Flushed,
    Held,
    History,
    Moving,
    Notified,
    Released,
    Wished,
)
from emailrelay.reply import Reply
from emailrelay.stage import Stage

A, B, C = Address("a@x.test"), Address("b@x.test"), Address("c@x.test")
OK, LATER, NEVER = Reply(250, "ok"), Reply(451, "later"), Reply(550, "never")
ACCEPTED = Accepted(at=1.0, stage=Stage.UNFILTERED, length=3, crc32=4)
FAILED = Failure(at=8.0, stage=Stage.READY, reason=NEVER)


def _lines(entries: list[Entry]) -> list[bytes]:
    return b"".join(map(journal_format.write, entries)).split(b"\r\n")


def _read(octets: bytes) -> History:
    return journal_format.history(octets)


@given(st.lists(ENTRIES, max_size=12))
def test_shortened_journal_is_read_as_the_same_history(entries: list[Entry]) -> None:
    shortened = short_journal.shorten(_lines(entries))
    assert shortened is None or _read(shortened) == journal.read(entries)


def _tries(count: int, **replies: Reply) -> list[Entry]:
    told = {Address(f"{name}@x.test"): reply for name, reply in replies.items()}
    return [Attempt(at=2.0 + n, peer="p", replies=told, next_attempt=9.0) for n in range(count)]


STORIES: dict[str, list[Entry]] = {
    "deferred": [ACCEPTED, *_tries(50, a=LATER)],
    "delivered to one": [ACCEPTED, *_tries(1, a=OK, b=NEVER), *_tries(50, c=LATER)],
    "filtered late": [
        ACCEPTED,
        *_tries(50),
        Filtered(at=5.0, length=6, crc32=7),
        *_tries(9, a=LATER),
    ],
    "released": [
        ACCEPTED,
        *_tries(9, a=OK, b=NEVER),
        FAILED,
        Released(at=9.0),
        *_tries(9, b=LATER),
    ],
    "released, not tried": [ACCEPTED, *_tries(50, a=OK, b=NEVER), FAILED, Released(at=9.0)],
    "failed and told": [ACCEPTED, *_tries(50, a=LATER), FAILED, Notified(at=9.0)],
    "held": [ACCEPTED, *_tries(50, a=LATER), Held(at=9.0, stage=Stage.READY)],
    "flushed often": [ACCEPTED, *([*_tries(1, a=LATER), Flushed(at=3.0)] * 50)],
    "retried often": [ACCEPTED, *([*_tries(1, b=LATER), Released(at=3.0)] * 50)],
    "in doubt": [ACCEPTED, *([Doubted(at=3.0, peer="p"), *_tries(1, a=LATER)] * 50)],
    "wished": [ACCEPTED, *_tries(50, a=LATER), Wished(at=9.0, wish=AdministratorWish.HOLD)],
    "another program's": _tries(50, a=OK, b=LATER),
}


@pytest.mark.parametrize("story", STORIES)
def test_long_journal_becomes_short(story: str) -> None:
    entries = STORIES[story]
    shortened = short_journal.shorten(_lines(entries))
    assert shortened is not None
    assert _read(shortened) == journal.read(entries)
    assert shortened.count(b"\r\n") <= 9
    assert short_journal.shorten(shortened.split(b"\r\n")) == shortened


def test_lines_of_other_programs_stay_once() -> None:
    lines = [b"X-Other: 1", *_lines([ACCEPTED, FAILED]), b"torn", *_lines([FAILED])]
    shortened = short_journal.shorten(lines)
    assert shortened is not None
    assert shortened.startswith(b"X-Other: 1\r\ntorn\r\n")
    assert shortened.count(b"X-MailRelay-Reason:") == 1


def test_text_that_puts_off_many_is_written_once() -> None:
    later = Reply(451, "4.2.1 come back later")
    attempt = Attempt(at=1.0, peer="p", replies={A: later, B: later, C: OK})
    written = journal_format.write(attempt)
    assert written.count(b"come back later") == 1
    assert journal_format.parse(written) == [attempt]


def test_journal_of_an_earlier_version_is_read() -> None:
    line = b'X-MailRelay-Attempt: {"at":1,"peer":"p","replies":{"a@x.test":"451 later"}}\r\n'
    assert journal_format.parse(line) == [Attempt(at=1.0, peer="p", replies={A: LATER})]


def test_origin_of_a_moved_message_stays() -> None:
    came = Moving(at=2.0, stage=Stage.READY, origin="host:/spool")
    goes = [Moving(at=at, stage=Stage.READY) for at in (3.0, 4.0, 5.0)]
    shortened = short_journal.shorten(_lines([ACCEPTED, came, *goes]))
    assert shortened is not None
    assert shortened.count(b"Moving") == 2
    assert _read(shortened).origin == "host:/spool"
