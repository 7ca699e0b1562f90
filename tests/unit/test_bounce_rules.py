"""The rules about notices: who is told, how often, and when failed mail has been told of."""

import email

import pytest

from emailrelay.acceptance import Accepted
from emailrelay.aliases import Aliases
from emailrelay.bounces import digest
from emailrelay.bounces.addressees import Tell, Untold, addressees
from emailrelay.bounces.failures import FailedRecipient
from emailrelay.bounces.pace import HOUR, MOST_TOGETHER, NoticesDue, Pace, mailboxes, notices_due
from emailrelay.bounces.told_mail import told_at
from emailrelay.config import ForwarderSettings, read
from emailrelay.dsn_request import NO_REQUEST, DsnRequest, Notify, RecipientRequest
from emailrelay.envelope import Address, Envelope
from emailrelay.errors import ConfigError
from emailrelay.journal import Attempt, Entry, Failure, History, Notified
from emailrelay.journal import read as history_of
from emailrelay.journal_format import parse as parse_journal
from emailrelay.journal_format import write as write_entry
from emailrelay.queue_id import QueueId
from emailrelay.reply import Reply
from emailrelay.stage import Stage

ANN, BOB, ADMIN = Address("ann@x.test"), Address("bob@y.test"), Address("admin@x.test")
NOBODY = Reply(550, "5.1.1 nobody")
NEVER = DsnRequest(recipients={BOB: RecipientRequest((Notify.NEVER,))})


def failed(dsn: DsnRequest = NO_REQUEST, *more: Entry) -> History:
    accepted = Accepted(at=1.0, stage=Stage.READY, length=1, crc32=1, dsn=dsn)
    return history_of([accepted, Failure(at=2.0, stage=Stage.READY, reason=NOBODY), *more])


def decided(
    sender: str, history: History | None = None, *, postmaster: bool, to: Address = BOB
) -> Tell | Untold:
    return addressees(
        Envelope(sender=Address(sender), to_remote=(to,)),
        failed() if history is None else history,
        postmaster=(ADMIN,) if postmaster else (),
        aliases=Aliases.of({"root": [ANN], "lost": ["lost@localhost"]}, "relay.test"),
    )


@pytest.mark.parametrize(
    ("sender", "without", "with_postmaster"),
    [
        ("ann@x.test", (ANN,), (ANN,)),
        ("root", (ANN,), (ANN,)),
        ("root@relay.test", (ANN,), (ANN,)),
        ("web@relay.test", ("web@relay.test",), ("web@relay.test",)),
        ("web", Untold.LOCAL_SENDER, (ADMIN,)),
        ("web@localhost", Untold.LOCAL_SENDER, (ADMIN,)),
        ("lost", Untold.LOCAL_SENDER, (ADMIN,)),
        ("", Untold.NULL_SENDER, (ADMIN,)),
    ],
)
def test_sender_or_the_person_behind_it_is_told(
    sender: str, without: object, with_postmaster: object
) -> None:
    for postmaster, expected in ((False, without), (True, with_postmaster)):
        decision = decided(sender, postmaster=postmaster)
        assert (decision.to if isinstance(decision, Tell) else decision) == expected


def test_notice_to_the_postmaster_that_fails_is_told_to_no_one() -> None:
    assert decided("", postmaster=True, to=ADMIN) is Untold.NULL_SENDER


def test_notice_whose_sender_a_filter_changed_is_told_to_the_postmaster_alone() -> None:
    for depth, expected in ((1, (ADMIN,)), (2, Untold.NOTICE_OF_NOTICE)):
        accepted = Accepted(at=1.0, stage=Stage.READY, length=1, crc32=1, notice=depth)
        history = history_of([accepted, Failure(at=2.0, stage=Stage.READY, reason=NOBODY)])
        decision = decided("ann@x.test", history, postmaster=True)
        assert (decision.to if isinstance(decision, Tell) else decision) == expected
        assert parse_journal(write_entry(accepted)) == [accepted]


@pytest.mark.parametrize(
    ("address", "mailbox"),
    [
        ("ann@x.test", "ann@x.test"),
        ("Ann@X.Test", "ann@x.test"),
        ("ann+news+1@x.test", "ann@x.test"),
        ("+1@x.test", "+1@x.test"),
        ("list+bob=y.test@x.test", "list+bob=y.test@x.test"),
        ("root", "root"),
        ('"a@b+c"@x.test', '"a@b+c"@x.test'),
    ],
)
def test_mailbox_of_an_address(address: str, mailbox: str) -> None:
    assert mailboxes((Address(address),)) == (mailbox,)


def test_wish_for_no_notice_is_obeyed() -> None:
    assert decided("ann@x.test", failed(NEVER), postmaster=True) is Untold.NOT_WANTED
    delivered = Attempt(at=1.5, peer="mx:25", replies={BOB: Reply(250, "ok")})
    assert decided("ann@x.test", failed(NO_REQUEST, delivered), postmaster=True) is (
        Untold.NOT_WANTED
    )


def ids(count: int) -> list[QueueId]:
    return [QueueId(f"1.1.{n:04}") for n in range(count)]


@pytest.mark.parametrize(
    ("count", "age", "recent", "singly", "together"),
    [
        (0, 0.0, 0, 0, 0),
        (3, 0.0, 0, 3, 0),
        (20, 0.0, 0, 10, 0),
        (20, 0.0, 7, 3, 0),
        (20, 0.0, 12, 0, 0),
        (20, HOUR - 1, 10, 0, 0),
        (20, HOUR, 10, 0, 20),
        (1, HOUR, 10, 1, 0),
        (1000, 2 * HOUR, 0, 0, MOST_TOGETHER),
        (5, -HOUR, 0, 5, 0),
    ],
)
def test_pace(count: int, age: float, recent: int, singly: int, together: int) -> None:
    now = 1_000_000.0
    waiting = dict.fromkeys(reversed(ids(count)), now - age)
    due = notices_due(waiting, recent=recent, most=10, now=now)
    assert due == NoticesDue(tuple(ids(singly)), tuple(ids(together)))


def test_pace_in_a_storm_of_a_day_has_a_bounded_number_of_notices() -> None:
    pace, sent, told = Pace(), 0, 0
    for second in range(0, 24 * 3600, 60):
        pace.add((ANN,), QueueId(f"{second}.1.1"), float(second))
        for box, due in pace.due(most=10, now=float(second)):
            for message in (*due.singly, *due.together):
                pace.drop(box, message)
                told += 1
            for _ in (*due.singly, *([due.together] if due.together else [])):
                sent += 1
                pace.count((ANN,), str(sent), float(second))
    assert sent <= 25 * 11
    assert told > 22 * 60, "all but the last hour are told of"


@pytest.mark.parametrize(
    ("sender", "line", "expected"),
    [
        ("ann@x.test", Notified(at=5.0, told=True, to=(ANN,), notice="1.1.1"), 5.0),
        ("ann@x.test", Notified(at=5.0, told=False), None),
        ("", Notified(at=5.0, told=True, to=(ADMIN,), notice="1.1.1"), 5.0),
        ("ann@x.test", Notified(at=5.0), 5.0),
        ("", Notified(at=5.0), None),
        ("ann@x.test", None, None),
    ],
)
def test_time_at_which_a_sender_was_told(
    sender: str, line: Notified | None, expected: float | None
) -> None:
    history = failed(NO_REQUEST, *([line] if line is not None else []))
    assert told_at(Envelope(sender=Address(sender), to_remote=(BOB,)), history) == expected
    assert told_at(None, history) is None, "its sender is unknown"


def test_line_about_a_notification_reads_back_and_an_older_one_too() -> None:
    line = Notified(at=5.0, told=True, to=(ANN,), notice="1.1.1")
    assert parse_journal(write_entry(line)) == [line]
    assert parse_journal(b'X-MailRelay-Notified: {"at":5.0}\r\n') == [Notified(at=5.0)]


def test_notice_about_many_names_each_with_its_subject_and_reasons() -> None:
    one = digest.FailedOne(
        id="1.1.1",
        arrived=1_700_000_000.0,
        failures=(FailedRecipient(recipient=BOB, reply=NOBODY, peer="mx.y.test:25"),),
        beginning=b"Subject: Re: \xff\x1b[31m report\r\nX: y\r\n\r\nsecret\r\n",
    )
    many = digest.FailedOne(
        id="1.1.2",
        arrived=None,
        failures=tuple(
            FailedRecipient(recipient=Address(f"r{n}@y.test"), reply=NOBODY) for n in range(9)
        ),
        beginning=b"",
    )
    octets = digest.compose(message="9.9.9", host="h.test", to=(ANN,), now=2e9, failed=(one, many))
    message = email.message_from_bytes(octets)
    assert message["Subject"] == "2 messages could not be delivered"
    assert message["To"] == "ann@x.test"
    text = octets.decode("ascii")
    assert "  Subject: Re: ??[31m report\r\n" in text
    assert "  and 4 more recipients\r\n" in text
    assert "secret" not in text
    blocks = [p for p in message.walk() if "Final-Recipient" in p]
    assert [p["X-MailRelay-Id"] for p in blocks] == ["1.1.1", *["1.1.2"] * 9]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--postmaster=root"], "must be an address, such as admin@example.com"),
        (["--bounces-per-hour=0"], "--bounces-per-hour"),
        (["--keep-failed=-1"], "--keep-failed"),
        (["--aliases=root=ann"], "leads to 'ann'"),
    ],
)
def test_wrong_settings_are_named(flags: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read(ForwarderSettings, ["--forward-to=h:25", *flags], {})


def test_settings_have_their_forms() -> None:
    flags = ["--forward-to=h:25", "--aliases=root=a@x.test,b@x.test", "--postmaster=p@x.test"]
    found = read(ForwarderSettings, flags, {})
    assert found.aliases == {"root": ["a@x.test", "b@x.test"]}
    assert found.postmaster == ["p@x.test"]
    assert (found.bounces, found.keep_failed) == (True, 30 * 86400)
