"""Addresses go through verbatim or are refused; only offered parameters are accepted."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.client_source import is_local
from emailrelay.dsn_request import NO_WISHES, Notify, RecipientRequest, Return
from emailrelay.envelope import Address, Body
from emailrelay_receiver.dialogue.arguments import (
    MailParameters,
    Refused,
    read_chunk,
    read_mailbox,
    read_recipient,
    read_sender,
)
from emailrelay_receiver.dialogue.outcomes import ReceiveChunk


def refusal(argument: bytes, *, utf8: bool = False) -> str:
    def read() -> None:
        if argument.startswith(b"TO:"):
            read_recipient(argument, utf8=utf8)
        else:
            read_sender(argument)

    with pytest.raises(Refused) as caught:
        read()
    return str(caught.value.reply)[:9]


@pytest.mark.parametrize(
    "address",
    [
        "a@b.test",
        "postmaster",
        "c%evil@d",
        "d!c",
        "../../etc/passwd@d",
        "`id`@d",
        "|id@d",
        "a..b@d",
        "a@[127.0.0.1]",
        "a@[IPv6:::1]",
        '"a b"@d',
        '"a@b"@d',
        '"a\\"b"@d',
        '"evil@y> x"@d',
        '"a"."b"@d',
        "x" * 250 + "@d",
    ],
)
def test_an_address_is_kept_as_it_stood(address: str) -> None:
    assert read_recipient(b"TO:<%b>" % address.encode(), utf8=False) == (address, NO_WISHES)


@pytest.mark.parametrize("argument", [b"to:<a@b>", b"TO: <a@b>", b"TO:<a@b> ", b"To:<@x,@y:a@b>"])
def test_a_recipient_is_read_in_the_forms_in_use(argument: bytes) -> None:
    assert read_recipient(argument, utf8=False) == ("a@b", NO_WISHES)


def test_the_null_sender_is_empty() -> None:
    assert read_sender(b"FROM:<>") == (Address(""), MailParameters())


@pytest.mark.parametrize("quote", [b'"', b""])
@pytest.mark.parametrize("octet", [*range(0x20), 0x7F])
def test_no_control_character_gets_into_an_address(octet: int, quote: bytes) -> None:
    address = quote + b"a" + bytes([octet]) + b"b" + quote + b"@d"
    assert refusal(b"TO:<%b>" % address) == "501 5.1.3"
    assert refusal(b"FROM:<%b> SMTPUTF8" % address) == "501 5.1.7"


@pytest.mark.parametrize("character", ["\x80", "\x85", "\x9f", "\u2028", "\u2029"])
def test_no_control_character_beyond_ascii_gets_into_an_address(character: str) -> None:
    assert refusal(f'TO:<"a{character}b"@d>'.encode(), utf8=True) == "501 5.1.3"


@pytest.mark.parametrize("octets", [b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80"])
def test_what_is_not_utf8_is_refused(octets: bytes) -> None:
    assert refusal(b"TO:<%b@d>" % octets, utf8=True) == "553 5.6.7"
    assert refusal(b"FROM:<%b@d> SMTPUTF8" % octets) == "553 5.6.7"


def test_an_address_beyond_ascii_needs_smtputf8() -> None:
    assert refusal("TO:<ü@d>".encode()) == "553 5.6.7"
    assert refusal("FROM:<ü@d>".encode()) == "553 5.6.7"
    assert read_recipient("TO:<ü@d>".encode(), utf8=True) == ("ü@d", NO_WISHES)
    assert read_sender("FROM:<ü@d> SMTPUTF8".encode()) == ("ü@d", MailParameters(utf8=True))


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"a@b",
        b"<a@b",
        b"<>",
        b"<@b>",
        b"<a@>",
        b"<a b@c>",
        b"< a@b >",
        b"<a(c)@d>",
        b"<$(id)@d>",
        b"<@x:>",
        b"<a@b@c>",
        b"<a@b>x",
        b'<"a@b>',
        b"<-oQ/tmp@d>",
        b"<a@[]>",
        b"<" + b"x" * 257 + b"@d>",
        b"<a@" + b"x" * 256 + b">",
    ],
)
def test_a_malformed_recipient_is_refused(path: bytes) -> None:
    assert refusal(b"TO:" + path) == "501 5.1.3"


@given(st.text(max_size=40))
def test_what_is_accepted_is_on_the_wire_what_it_was(text: str) -> None:
    try:
        octets = text.encode()
        got, _ = read_recipient(b"TO:<" + octets + b">", utf8=True)
    except (Refused, UnicodeEncodeError):
        return
    assert got == text or text.startswith("@")


def test_the_parameters_of_mail_are_read_in_any_case() -> None:
    _, parameters = read_sender(b"FROM:<a@b> size=10 BODY=8bitmime SmtpUtf8")
    assert parameters == MailParameters(size=10, body=Body.EIGHT_BIT, utf8=True)


@pytest.mark.parametrize(
    ("words", "reply"),
    [
        (b"SIZE=-1", "501 5.5.4"),
        (b"SIZE=abc", "501 5.5.4"),
        (b"SIZE=", "501 5.5.4"),
        (b"SIZE", "501 5.5.4"),
        ("SMTPUTF8 SIZE=²".encode(), "501 5.5.4"),
        (b"SIZE=1 SIZE=1", "501 5.5.4"),
        (b"BODY=BINARYMIME", "501 5.5.4"),
        (b"SMTPUTF8=1", "501 5.5.4"),
        (b"RET=ALL", "501 5.5.4"),
        (b"RET", "501 5.5.4"),
        (b"ENVID=a+b", "501 5.5.4"),
        (b"ENVID=" + b"x" * 101, "501 5.5.4"),
        (b"AUTH", "501 5.5.4"),
        (b"AUTH=a+zz", "501 5.5.4"),
        (b"=x", "501 5.5.4"),
    ],
)
def test_a_parameter_that_is_not_offered_or_malformed_is_refused(words: bytes, reply: str) -> None:
    assert refusal(b"FROM:<a@b> " + words) == reply


@pytest.mark.parametrize(
    "words",
    [
        b"NOTIFY=NEVER,FAILURE",
        b"NOTIFY=",
        b"NOTIFY=ALWAYS",
        b"NOTIFY=DELAY,DELAY",
        b"ORCPT=a@b",
        b"ORCPT=rfc822;a+b",
        b"ORCPT=rfc822;",
        b"ORCPT=rfc822;" + b"x" * 500,
    ],
)
def test_a_malformed_parameter_of_rcpt_is_refused(words: bytes) -> None:
    assert refusal(b"TO:<a@b> " + words) == "501 5.5.4"


def test_an_unknown_parameter_of_rcpt_is_refused() -> None:
    assert refusal(b"TO:<a@b> RRVS=x") == "555 5.5.4"


def test_what_is_to_be_told_of_the_delivery_is_read() -> None:
    _, request = read_recipient(b"TO:<a@b> notify=success,FAILURE ORCPT=rfc822;a+2Bc@d", utf8=False)
    assert request == RecipientRequest(
        notify=(Notify.SUCCESS, Notify.FAILURE), original="rfc822;a+2Bc@d"
    )
    _, parameters = read_sender(b"FROM:<a@b> RET=hdrs ENVID=x+20y AUTH=<>")
    assert parameters == MailParameters(give_back=Return.HEADERS, envelope_id="x+20y", auth="<>")


@given(st.binary(max_size=60))
def test_no_octets_break_the_reading_of_a_chunk_or_a_mailbox(octets: bytes) -> None:
    chunk = read_chunk(octets)
    assert chunk is None or chunk.size >= 0
    read_mailbox(octets)


def test_a_chunk_says_its_size_and_whether_it_is_the_last() -> None:
    assert read_chunk(b"12") == ReceiveChunk(12, last=False)
    assert read_chunk(b"0 last") == ReceiveChunk(0, last=True)
    assert [read_chunk(x) for x in (b"", b"-1", b"1 LAST x", b"x", b"1LAST")] == [None] * 5


@pytest.mark.parametrize("client", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_local(client: str) -> None:
    assert is_local(client)


@pytest.mark.parametrize(
    "client", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0", "::ffff:192.0.2.1", ""]
)
def test_everything_else_is_not(client: str) -> None:
    assert not is_local(client)


@given(st.binary(max_size=600))
def test_no_argument_breaks_the_rules(octets: bytes) -> None:
    for read in (lambda: read_sender(octets), lambda: read_recipient(b"TO:<" + octets, utf8=True)):
        # Any other error fails the test.
        with suppress(Refused):
            read()


@pytest.mark.parametrize(
    ("argument", "address"),
    [
        (b"TO:a@b.test", "a@b.test"),
        (b"TO: a@b.test ", "a@b.test"),
        (b"TO:a@b.test NOTIFY=NEVER", "a@b.test"),
        (b"TO:<a@b.test>", "a@b.test"),
        (b"TO:root", "root"),
    ],
)
def test_a_lenient_reader_does_without_brackets(argument: bytes, address: str) -> None:
    assert read_recipient(argument, utf8=False, lenient=True)[0] == address
    sender = argument.replace(b"TO:", b"FROM:").replace(b"NOTIFY=NEVER", b"SIZE=7")
    assert read_sender(sender, lenient=True)[0] == address


@pytest.mark.parametrize(
    "text", [b"", b" ", b"a@b>", b"<a@b", b"a b@c", b"a@b,c@d", b"-a@b", b"Name <a@b>", b"a@b\x01"]
)
def test_a_lenient_reader_still_wants_an_address(text: bytes) -> None:
    with pytest.raises(Refused):
        read_recipient(b"TO:" + text, utf8=False, lenient=True)
    with pytest.raises(Refused):
        read_sender(b"FROM:" + text, lenient=True)


@pytest.mark.parametrize("argument", [b"TO:a@b.test", b"TO:a@b.test NOTIFY=NEVER"])
def test_brackets_are_needed_by_default(argument: bytes) -> None:
    assert refusal(argument) == "501 5.1.3"
