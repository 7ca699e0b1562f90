"""A notice of failure has all that RFC 3464 promises, for any original message."""

import email
from email.message import Message
from email.policy import default
from io import BytesIO

import pytest
from flufl.bounce import (
    all_failures,  # pyright: ignore[reportUnknownVariableType] - the library is partly typed
)
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.acceptance import Accepted
from emailrelay.bounces import dsn
from emailrelay.bounces.failures import FailedRecipient, failures
from emailrelay.dsn_request import DsnRequest, Notify, RecipientRequest, Return
from emailrelay.envelope import Address, Envelope
from emailrelay.journal import Attempt, Entry, Failure, read
from emailrelay.reply import Reply
from emailrelay.stage import Stage

ANN, BOB, CAT = Address("ann@x.test"), Address("bob@y.test"), Address("cat@z.test")
ENVELOPE = Envelope(sender=Address("sender@x.test"), to_remote=(ANN, BOB, CAT))
NOBODY = Reply(550, "5.1.1 no such user")
GIVEN_UP = Reply(554, "5.4.7 not delivered within 5 days, last try: 451 4.3.0 busy <cat@z.test>")
HEADER = b"Message-ID: <one@x.test>\r\nSubject: one\r\n\r\nsecret body\r\n"


def report(
    *,
    sender: str = "sender@x.test",
    header: bytes = HEADER,
    failed: tuple[FailedRecipient, ...] | None = None,
    envelope_id: str = "",
    give_back: Return | None = None,
) -> dsn.FailureReport:
    return dsn.FailureReport(
        id="1700000000000.1.2",
        about="1700000000000.1.1",
        host="relay.test",
        to=(Address(sender),),
        failures=failed or (FailedRecipient(recipient=BOB, reply=NOBODY, peer="mx.y.test:25"),),
        arrived=1_700_000_000.0,
        last_attempt=1_700_000_100.0,
        now=1_700_000_200.0,
        beginning=header,
        envelope_id=envelope_id,
        give_back=give_back,
    )


def read_back(notice: dsn.FailureReport) -> Message:
    octets = dsn.compose(notice)
    assert octets.replace(b"\r\n", b"").count(b"\n") == 0, "a bare LF"
    assert max(len(line) for line in octets.split(b"\r\n")) <= 998
    return email.message_from_binary_file(BytesIO(octets))


def status_blocks(message: Message) -> list[Message]:
    return [p for p in message.walk() if "Reporting-MTA" in p or "Final-Recipient" in p]


def part(message: Message, kind: str) -> Message:
    (found,) = [p for p in message.walk() if p.get_content_type() == kind]
    return found


def test_notice_is_a_delivery_status_report_that_no_responder_answers() -> None:
    message = read_back(report())
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["To"] == "sender@x.test"
    assert message["In-Reply-To"] == "<one@x.test>"
    kinds = [p.get_content_type() for p in message.walk() if p not in status_blocks(message)]
    assert kinds == [
        "multipart/report",
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def test_notice_claims_of_no_server_what_this_relay_may_have_found() -> None:
    unable = Reply(553, "5.6.7 the server does not support SMTPUTF8")
    failure = FailedRecipient(recipient=BOB, reply=unable, peer="mx.y.test:25")
    words = dsn.compose(report(failed=(failure,))).decode()
    assert "    mx.y.test:25: 553 5.6.7 the server does not support SMTPUTF8\r\n" in words
    assert " said: " not in words


@pytest.mark.parametrize("sender", ["sender@x.test", "sénder@x.test"])
def test_no_field_is_folded_since_that_takes_long_for_hostile_replies(sender: str) -> None:
    said = "=?a?q?x" * 60
    failure = FailedRecipient(recipient=BOB, reply=Reply(550, said), peer="mx.y.test:25")
    octets = dsn.compose(report(sender=sender, failed=(failure,)))
    assert f"\r\nDiagnostic-Code: smtp; 550 {said}\r\n".encode() in octets


def test_notice_names_server_and_reason_for_each_recipient() -> None:
    failed = (
        FailedRecipient(recipient=BOB, reply=NOBODY, peer="mx.y.test:25"),
        FailedRecipient(recipient=CAT, reply=GIVEN_UP),
    )
    about, bob, cat = status_blocks(read_back(report(failed=failed)))
    assert about["Reporting-MTA"] == "dns; relay.test"
    assert about["Arrival-Date"]
    assert bob["Final-Recipient"] == "rfc822; bob@y.test"
    assert bob["Action"] == "failed"
    assert bob["Status"] == "5.1.1"
    assert bob["Remote-MTA"] == "dns; mx.y.test"
    assert bob["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert cat["Status"] == "5.4.7"
    assert cat["Remote-MTA"] is None
    assert cat["Diagnostic-Code"].startswith("x-emailrelay; 554 5.4.7 not delivered")


def test_bounce_detector_finds_the_failed_recipients() -> None:
    failed = tuple(FailedRecipient(recipient=r, reply=NOBODY, peer="mx:25") for r in (ANN, CAT))
    found = all_failures(read_back(report(failed=failed)))
    assert [set(kind) for kind in found] == [set(), {b"ann@x.test", b"cat@z.test"}]


def test_only_the_header_of_the_original_goes_back() -> None:
    octets = dsn.compose(report())
    assert b"Subject: one" in octets
    assert b"secret body" not in octets


@given(st.binary(max_size=2000))
def test_no_original_can_break_out_of_its_part(header: bytes) -> None:
    message = read_back(report(header=header))
    assert message["Auto-Submitted"] == "auto-replied"
    original = part(message, "text/rfc822-headers").get_payload()
    assert isinstance(original, str)
    assert original.isascii()
    assert all(c.isprintable() or c in "\r\n\t" for c in original)


def test_original_that_guesses_the_boundary_stays_in_its_part() -> None:
    boundary = read_back(report()).get_boundary()
    assert boundary is not None
    header = f"--{boundary}\r\nContent-Type: text/html\r\n".encode()
    kinds = [p.get_content_type() for p in read_back(report(header=header)).walk()]
    assert "text/html" not in kinds


def test_huge_header_is_cut() -> None:
    header = b"".join(b"X-%d: %s\r\n" % (n, b"x" * 60) for n in range(5000))
    assert len(dsn.compose(report(header=header))) < dsn.LARGEST_RETURN + 4096


def test_reply_of_a_peer_cannot_add_fields() -> None:
    reply = Reply.of(550, "5.1.1 no\r\nAction: delivered \x1b[31m \N{SNOWMAN}")
    failure = FailedRecipient(recipient=BOB, reply=reply, peer="mx:25")
    _, block = status_blocks(read_back(report(failed=(failure,))))
    assert block.get_all("Action") == ["failed"]
    assert block["Diagnostic-Code"].isascii()


@pytest.mark.parametrize("peer", ["mx\r\nX-Evil: yes", "mx\nX-Evil: yes", "mx\rX-Evil: yes"])
def test_peer_that_another_program_wrote_adds_no_field_and_stops_no_notice(peer: str) -> None:
    failed = FailedRecipient(recipient=BOB, reply=NOBODY, peer=peer)
    _, status = status_blocks(read_back(report(failed=(failed,))))
    assert "X-Evil" not in status
    assert status["Final-Recipient"] == "rfc822; bob@y.test"


def test_notice_about_many_recipients_is_bounded() -> None:
    failed = tuple(
        FailedRecipient(recipient=Address(f"{n}@y.test"), reply=NOBODY, peer="mx:25")
        for n in range(dsn.MOST_NAMED + 500)
    )
    message = read_back(report(failed=failed))
    assert len(status_blocks(message)) == 1 + dsn.MOST_NAMED
    words = next(p for p in message.walk() if p.get_content_type() == "text/plain")
    assert "and 500 more recipients" in str(words.get_payload())


def test_addresses_beyond_ascii_survive() -> None:
    sender, recipient = "δοκιμή@παράδειγμα.test", Address("用户@例子.test")
    failure = FailedRecipient(recipient=recipient, reply=NOBODY)
    octets = dsn.compose(report(sender=sender, failed=(failure,)))
    message = email.message_from_bytes(octets, policy=default.clone(utf8=True))
    assert sender in str(message["To"])
    block = status_blocks(email.message_from_bytes(octets))[1]
    assert block["Final-Recipient"] == r"utf-8; \x{7528}\x{6237}@\x{4F8B}\x{5B50}.test"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(550, "5.7.1 no"), "5.7.1"),
        (Reply(550, "no"), "5.0.0"),
        (Reply(550, "4.7.1 contradicts itself"), "5.0.0"),
        (Reply(451, "later"), "4.0.0"),
        (Reply(550, "5.1.10 long"), "5.1.10"),
        (Reply(550, "5.1.1000 no code"), "5.0.0"),
        (Reply(550, ""), "5.0.0"),
    ],
)
def test_status_is_the_peers_where_it_makes_sense(reply: Reply, expected: str) -> None:
    assert dsn.status(reply) == expected


def test_delivered_recipients_are_not_called_failed() -> None:
    entries: list[Entry] = [
        Accepted(at=1.0, stage=Stage.READY, length=1, crc32=1),
        Attempt(
            at=2.0, peer="mx:25", replies={ANN: Reply(250, "ok"), BOB: NOBODY, CAT: Reply(451, "x")}
        ),
        Failure(at=3.0, stage=Stage.READY, reason=GIVEN_UP),
    ]
    assert failures(ENVELOPE, read(entries)) == (
        FailedRecipient(recipient=BOB, reply=NOBODY, peer="mx:25"),
        FailedRecipient(recipient=CAT, reply=GIVEN_UP),
    )


def test_sender_who_asks_for_the_whole_message_gets_it_unchanged() -> None:
    content = HEADER + "Grüße\r\n--=_1700000000000.1.2\r\n".encode()
    notice = dsn.compose(report(header=content, give_back=Return.FULL))
    assert content in notice
    message = email.message_from_bytes(notice)
    assert [p.get_content_type() for p in message.walk() if p.get_content_maintype() != "text"] == [
        "multipart/report",
        "message/delivery-status",
        "message/rfc822",
    ]
    assert part(message, "message/rfc822")["Content-Transfer-Encoding"] == "8bit"
    assert message.defects == []


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: large\r\n\r\n" + b"x\r\n" * dsn.LARGEST_RETURN,
        b"Subject: bare\r\n\r\nline\nfeed\r\n",
        b"Subject: nul\r\n\r\n\0\r\n",
        b"Subject: long\r\n\r\n" + b"x" * 999 + b"\r\n",
        b"",
    ],
)
def test_message_that_servers_might_refuse_goes_back_as_its_header(content: bytes) -> None:
    message = read_back(report(header=content, give_back=Return.FULL))
    assert part(message, "text/rfc822-headers")


def test_notice_has_the_senders_own_names_for_message_and_recipient() -> None:
    failure = FailedRecipient(recipient=BOB, reply=NOBODY, original="rfc822;Bob+2Bx@y.test")
    other = FailedRecipient(recipient=CAT, reply=NOBODY, original="utf-8;\u00fc@z.test")
    notice = report(failed=(failure, other), envelope_id="QQ+2B1")
    about, bob, cat = status_blocks(read_back(notice))
    assert about["Original-Envelope-Id"] == "QQ+1"
    assert bob["Original-Recipient"] == "rfc822; Bob+x@y.test"
    assert cat["Original-Recipient"] == "utf-8; ?@z.test"


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        ((), True),
        ((Notify.FAILURE,), True),
        ((Notify.SUCCESS, Notify.FAILURE), True),
        ((Notify.NEVER,), False),
        ((Notify.SUCCESS,), False),
        ((Notify.DELAY,), False),
    ],
)
def test_sender_hears_only_of_the_failures_that_it_asked_for(
    notify: tuple[Notify, ...], *, told: bool
) -> None:
    request = DsnRequest(recipients={BOB: RecipientRequest(notify, "rfc822;b@y.test")})
    accepted = Accepted(at=1.0, stage=Stage.READY, length=1, crc32=1, dsn=request)
    entries = (accepted, Failure(at=3.0, stage=Stage.READY, reason=GIVEN_UP))
    failed = {found.recipient: found for found in failures(ENVELOPE, read(entries))}
    assert (BOB in failed) is told
    assert CAT in failed
    if told:
        assert failed[BOB].original == "rfc822;b@y.test"
