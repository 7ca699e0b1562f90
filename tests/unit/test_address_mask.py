"""Masked events show no mailbox, wherever the address stands."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.address_mask import masking
from emailrelay.config import LogMailAddresses
from emailrelay.events.delivery import Deferred, Delivered
from emailrelay.events.receiving import LoggedIn, Received, Rejected, SessionTrouble
from emailrelay.events.sessions import Dialogue, Direction
from emailrelay.queue_id import QueueId

DOMAIN, NONE = masking(LogMailAddresses.DOMAIN), masking(LogMailAddresses.NONE)
ID = QueueId("1.2.3")


def text(shown: LogMailAddresses, said: str) -> str:
    mask = masking(shown)
    assert mask is not None
    event = mask(SessionTrouble(client="192.0.2.1", reason=said))
    assert isinstance(event, SessionTrouble)
    return event.reason


@pytest.mark.parametrize(
    ("said", "domain", "none"),
    [
        ("550 5.1.1 <bob@y.test>: no such user", "550 5.1.1 <*@y.test>: no such user", "<*>"),
        ("550 bob@y.test unknown", "550 *@y.test unknown", "550 * unknown"),
        ("550 <root>: unknown", "550 <*>: unknown", "550 <*>: unknown"),
        ("MAIL FROM:<ann@x.test> SIZE=9", "MAIL FROM:<*@x.test> SIZE=9", "MAIL FROM:<*> SIZE=9"),
        ("MAIL FROM: ann@x.test", "MAIL FROM: *@x.test", "MAIL FROM: *"),
        ("RCPT TO:<@a.test,@b.test:bob@y.test>", "RCPT TO:<*@y.test>", "RCPT TO:<*>"),
        ('RCPT TO:<"bob b"@y.test>', "RCPT TO:<*@y.test>", "RCPT TO:<*>"),
        ('550 "bob b"@y.test', "550 *@y.test", "550 *"),
        ('550 <"a>bob b"@y.test>', "550 <*@y.test>", "550 <*>"),
        ('550 "bob\\"s"@y.test', "@y.test", "550"),
        ("MAIL FROM:<> AUTH=bob@x.test", "MAIL FROM:<> AUTH=*@x.test", "MAIL FROM:<> AUTH=*"),
        ("MAIL FROM:<> AUTH=bob+40x.test", "AUTH=*@x.test", "AUTH=*"),
        ("RCPT TO:<b@y> ORCPT=rfc822;bob@y.test", "ORCPT=rfc822;*@y.test", "ORCPT=rfc822;*"),
        ('user="bob b"@x.test', "user=*@x.test", "user=*"),
        ("554 owner-bob=y.test@x.test", "554 *@x.test", "554 *"),
        ("554 o'bob@x.test, bob+tag@x.test", "554 *@x.test, *@x.test", "554 *, *"),
        ("554 bob@[192.0.2.1] bob", "554 *@[192.0.2.1] ", "554 * "),
        ("554 <bob@y.test> <bob>", "554 <*@y.test> <*>", "554 <*> <*>"),
        ("VRFY bob", "VRFY *", "VRFY *"),
        ("expn bob b", "expn *", "expn *"),
        ("250 2.1.5 <bob@b\u00fccher.test>", "<*@b\u00fccher.test>", "<*>"),
        ("354 end with <CRLF>.<CRLF>", "354 end with <CRLF>.<CRLF>", "<CRLF>.<CRLF>"),
        ("no connection to [::1]:25", "no connection to [::1]:25", "no connection to [::1]:25"),
        ("MAIL FROM:<>", "MAIL FROM:<>", "MAIL FROM:<>"),
    ],
)
def test_text_loses_its_mailboxes(said: str, domain: str, none: str) -> None:
    in_domain = text(LogMailAddresses.DOMAIN, said)
    in_none = text(LogMailAddresses.NONE, said)
    assert domain in in_domain
    assert none in in_none
    assert "bob" not in in_domain.removesuffix(" bob")
    assert "ann" not in in_domain
    assert "y.test" not in in_none
    assert "x.test" not in in_none


MAILBOX = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,20}", fullmatch=True)


@given(MAILBOX, st.sampled_from(["550 5.1.1 <{}>", "no {} here", "RCPT TO:<{}>", "({}): gone"]))
def test_any_mailbox_is_masked(local: str, form: str) -> None:
    said = form.format(f"{local}@y.test")
    assert text(LogMailAddresses.DOMAIN, said) == form.format("*@y.test")
    assert text(LogMailAddresses.NONE, said) == form.format("*")


def test_fields_of_addresses_are_masked_and_others_stay() -> None:
    event = Received(
        id=ID,
        sender="ann@x.test",
        recipients=2,
        to=("bob@y.test", "root"),
        message_id="<1@x.test>",
        user="ann",
        size=5,
        client="192.0.2.1",
    )
    assert DOMAIN is not None
    assert NONE is not None
    assert DOMAIN(event) == Received(
        id=ID,
        sender="*@x.test",
        recipients=2,
        to=("*@y.test", "*"),
        message_id="<1@x.test>",
        user="*",
        size=5,
        client="192.0.2.1",
    )
    masked = NONE(event)
    assert isinstance(masked, Received)
    assert (masked.sender, masked.to, masked.user) == ("*", ("*", "*"), "*")


@pytest.mark.parametrize("piece", ["a@[", '" ', "<", '<"'])
def test_cost_grows_with_the_text_and_not_with_its_square(piece: str) -> None:
    text(LogMailAddresses.NONE, piece * 150_000)


def test_null_sender_stays() -> None:
    assert NONE is not None
    masked = NONE(Deferred(id=ID, reason="", next_attempt=None, recipients=1, to=("a@x",)))
    assert isinstance(masked, Deferred)
    assert (masked.sender, masked.next_attempt, masked.to) == ("", None, ("*",))


def test_words_of_ours_stay() -> None:
    assert DOMAIN is not None
    for event in (
        Dialogue(direction=Direction.SENT, line="QUIT", peer="mail.test:25"),
        Delivered(id=ID, peer="mail.test:25", recipients=1, reply="250 ok", seconds=0.5),
        Rejected(command="RCPT", reply="550 5.7.1 relaying denied", client="192.0.2.1"),
        LoggedIn(user="", mechanism="PLAIN", client="192.0.2.1"),
    ):
        assert DOMAIN(event) == event


def test_full_masks_nothing() -> None:
    assert masking(LogMailAddresses.FULL) is None
