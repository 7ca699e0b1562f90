"""Envelope files return their values, or refuse them; no value becomes a field of its own."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emailrelay import envelope_format
from emailrelay.arrival_facts import ArrivalFacts
from emailrelay.envelope import MOST_RECIPIENTS, Address, Body, Envelope
from emailrelay.envelope_format import from_xtext, parse, tail, to_xtext, write
from emailrelay.errors import DamagedMessage

TEXT = st.text(st.characters(), max_size=40) | st.text("ab<>@. \t\r\n+=:\u2028\x85", max_size=20)
ADDRESSES = TEXT.map(Address)
PEM = st.lists(st.text("ABCab+/=", min_size=1), max_size=3).map(
    lambda lines: "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----\n"])
)
ENVELOPES = st.builds(
    Envelope,
    sender=ADDRESSES,
    to_local=st.lists(ADDRESSES, max_size=2).map(tuple),
    to_remote=st.lists(ADDRESSES, min_size=1, max_size=3).map(tuple),
    body=st.sampled_from(Body),
    authentication=TEXT,
    client=TEXT,
    client_certificate=st.just("") | PEM | TEXT.filter(bool).map("{}\n".format),
    mail_from_auth_in=TEXT,
    mail_from_auth_out=TEXT,
    forward_to=TEXT,
    forward_to_address=TEXT,
    account_selector=TEXT,
    utf8=st.booleans(),
    message_id=st.just("") | TEXT.filter(str.isprintable),
    arrival=st.none() | st.builds(ArrivalFacts, TEXT, TEXT, TEXT, TEXT),
)
PLAIN = Envelope(sender=Address("a@x.test"), to_remote=(Address("b@y.test"),))
FILE = write(PLAIN)
UNSAFE = ["\n", "\r", "\r\n", "\0", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]


@given(ENVELOPES)
@example(PLAIN)
def test_envelope_is_read_back_as_written_or_refused(envelope: Envelope) -> None:
    try:
        octets = write(envelope)
    except ValueError:
        return
    assert parse(octets).envelope == envelope
    assert tail(octets + b"journal\r\n") == b"journal\r\n"
    assert parse(octets.replace(b"\r\n", b"\n")).envelope == envelope


@given(ENVELOPES)
def test_no_value_makes_a_field_of_its_own(envelope: Envelope) -> None:
    try:
        octets = write(envelope)
    except ValueError:
        return
    lines = octets.decode().split("\r\n")
    fields = [line for line in lines if not line.startswith(" ")]
    assert fields.pop() == ""
    assert len(fields) == 14 + len(envelope.recipients) + bool(envelope.message_id) + (
        envelope.arrival is not None
    )
    assert all(line.startswith("X-MailRelay-") for line in fields)
    assert fields[14 + len(envelope.recipients) - 1] == "X-MailRelay-End: 1"


def test_message_id_follows_the_end_mark_and_is_no_part_of_the_journal() -> None:
    octets = write(PLAIN._replace(message_id="<1@x.test>"))
    assert octets == FILE + b"X-MailRelay-MessageId: <1@x.test>\r\n"
    line = b'X-MailRelay-Notified: {"at":1.0}\r\n'
    assert parse(octets + line) == (PLAIN._replace(message_id="<1@x.test>"), line)


@pytest.mark.parametrize(
    "line",
    [
        b"X-MailRelay-MessageId: <torn@x.test>",
        b"X-MailRelay-MessageId: \r\n",
        b"X-MailRelay-MessageId: <\x1b[31m@x.test>\r\n",
        b"X-MailRelay-MessageId: <\xff@x.test>\r\n",
        b"X-MailRelay-MessageId: <" + b"x" * 998 + b">\r\n",
        b'X-MailRelay-Notified: {"at":1.0}\r\nX-MailRelay-MessageId: <late@x.test>\r\n',
    ],
)
def test_line_that_is_no_message_id_stays_in_the_tail(line: bytes) -> None:
    assert parse(FILE + line) == (PLAIN, line)
    assert tail(FILE + line) == line


FIELDS: dict[str, Callable[[str], Envelope]] = {
    "sender": lambda value: PLAIN._replace(sender=Address(value)),
    "to_local": lambda value: PLAIN._replace(to_local=(Address(value),)),
    "to_remote": lambda value: PLAIN._replace(to_remote=(Address("a"), Address(value))),
    "authentication": lambda value: PLAIN._replace(authentication=value),
    "client": lambda value: PLAIN._replace(client=value),
    "mail_from_auth_in": lambda value: PLAIN._replace(mail_from_auth_in=value),
    "mail_from_auth_out": lambda value: PLAIN._replace(mail_from_auth_out=value),
    "forward_to": lambda value: PLAIN._replace(forward_to=value),
    "forward_to_address": lambda value: PLAIN._replace(forward_to_address=value),
    "account_selector": lambda value: PLAIN._replace(account_selector=value),
}


@pytest.mark.parametrize("at", ["{}x", "x{}y", "x{}", "-----BEGIN X{}y"])
@pytest.mark.parametrize("field", FIELDS)
def test_control_character_is_refused_wherever_it_stands(field: str, at: str) -> None:
    for bad in UNSAFE:
        with pytest.raises(ValueError, match=r"^"):
            write(FIELDS[field](at.format(bad)))


def test_more_recipients_than_a_reader_accepts_are_refused() -> None:
    most = tuple(Address(f"{n}@y.test") for n in range(MOST_RECIPIENTS - 1))
    envelope = PLAIN._replace(to_local=most[:1], to_remote=most)
    assert len(parse(write(envelope)).envelope.to_remote) == MOST_RECIPIENTS - 1
    with pytest.raises(ValueError, match="at most 100000"):
        write(envelope._replace(to_local=most[:2]))


def test_file_is_written_exactly_so() -> None:
    envelope = Envelope(
        sender=Address("a@x.net"),
        to_local=(Address("mbox1"),),
        to_remote=(Address("r@y.net"),),
        body=Body.EIGHT_BIT,
        authentication="joe+x",
        client="127.0.0.1",
        client_certificate="-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        utf8=True,
    )
    assert write(envelope).decode().split("\r\n") == [
        "X-MailRelay-Format: #2821.8",
        "X-MailRelay-Content: 8bit",
        "X-MailRelay-From: a@x.net",
        "X-MailRelay-ToCount: 2",
        "X-MailRelay-To-Local: mbox1",
        "X-MailRelay-To-Remote: r@y.net",
        "X-MailRelay-Authentication: joe+2Bx",
        "X-MailRelay-Client: 127.0.0.1",
        "X-MailRelay-ClientCertificate: -----BEGIN CERTIFICATE-----",
        " AA==",
        " -----END CERTIFICATE-----",
        "X-MailRelay-MailFromAuthIn: ",
        "X-MailRelay-MailFromAuthOut: ",
        "X-MailRelay-ForwardTo: ",
        "X-MailRelay-ForwardToAddress: ",
        "X-MailRelay-ClientAccountSelector: ",
        "X-MailRelay-Utf8MailboxNames: 1",
        "X-MailRelay-End: 1",
        "",
    ]


OLD = (
    "X-MailRelay-Format: #2821.{version}\n"
    "X-MailRelay-Content: 8bit\n"
    "X-MailRelay-From: a@x.net\n"
    "X-MailRelay-ToCount: 1\n"
    "X-MailRelay-To-Remote: r@y.net\n"
    "X-MailRelay-Authentication: joe\n"
    "X-MailRelay-Client: 127.0.0.1\n"
    "X-MailRelay-End: 1\n"
)


@pytest.mark.parametrize("version", range(3, 9))
def test_old_format_is_read(version: int) -> None:
    assert parse(OLD.format(version=version).encode()).envelope == Envelope(
        sender=Address("a@x.net"),
        to_remote=(Address("r@y.net"),),
        body=Body.EIGHT_BIT,
        authentication="joe",
        client="127.0.0.1",
    )


@pytest.mark.parametrize("version", ["2", "9", "38", "", "8 "])
def test_unknown_format_is_damage(version: str) -> None:
    with pytest.raises(DamagedMessage, match="format"):
        parse(OLD.format(version=version).encode())


def test_what_follows_the_end_is_kept() -> None:
    rest = b"X-MailRelay-Reason: x\r\nfree text \xff\r\ntorn"
    assert parse(FILE + rest).tail == tail(FILE + rest) == rest
    assert parse(FILE).tail == b""


@pytest.mark.parametrize("cut", range(len(FILE)))
def test_file_cut_short_anywhere_is_damage(cut: int) -> None:
    with pytest.raises(DamagedMessage):
        parse(FILE[:cut])
    with pytest.raises(DamagedMessage):
        tail(FILE[:cut])


@given(st.binary(max_size=400))
def test_garbage_is_damage_and_nothing_else(octets: bytes) -> None:
    with pytest.raises(DamagedMessage):
        parse(octets)


@given(st.integers(0, len(FILE) - 1), st.binary(max_size=3))
def test_damaged_file_is_read_or_called_damaged(at: int, octets: bytes) -> None:
    try:
        envelope = parse(FILE[:at] + octets + FILE[at + len(octets) :]).envelope
    except DamagedMessage:
        return
    # A value that was read can be written: no control character came in.
    assert parse(write(envelope)).envelope == envelope


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ToCount: 1", b"ToCount: 2"),
        (b"ToCount: 1", b"ToCount: 0"),
        (b"ToCount: 1", b"ToCount: -1"),
        (b"ToCount: 1", b"ToCount: " + b"9" * 5000),
        (b"ToCount: 1", b"ToCount: \xc2\xb9"),
        (b"X-MailRelay-From", b"X-MailRelay-Former"),
        (b"X-MailRelay-From: a@x.test\r\n", b"X-MailRelay-From: a@x.test\r\n" * 2),
        (b"To-Remote: b@y.test\r\n", b"To-Remote: b@y.test\r\n continued\r\n"),
        (b"From: a@x.test\r\n", b"From: a@x.test\r\n continued\r\n"),
        (b"From: a@x.test", b"From: a\tb"),
        (b"From: a@x.test", b"From: a\x00b"),
        (b"From: a@x.test", b"From: a\xffb"),
        (b"From: a@x.test", b"From: a\xe2\x80\xa8b"),
        (b"From: a@x.test\r\n", b"From: a@x.test\r\r\n"),
        (b"ForwardTo: ", b"ForwardTo: a+0D+0Ab"),
        (b"Authentication: ", b"Authentication: +00"),
    ],
)
def test_contradiction_or_control_character_is_damage(old: bytes, new: bytes) -> None:
    assert old in FILE
    with pytest.raises(DamagedMessage):
        parse(FILE.replace(old, new, 1))


def _outcome(octets: bytes) -> object:
    try:
        return parse(octets)
    except DamagedMessage as error:
        return str(error)


def _unknown(_octets: bytes, _message_id: str, _arrival: ArrivalFacts | None) -> None:
    """Leave an envelope to the lines of any format."""


@given(
    ENVELOPES.map(lambda envelope: envelope._replace(to_local=(), client_certificate="")),
    st.integers(0, 600),
    st.binary(max_size=3) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n ", b"\xc2\x85"]),
)
@example(PLAIN, FILE.index(b"a@x"), b"\r")
@example(PLAIN, FILE.index(b"unknown"), b"U")
@example(PLAIN, FILE.index(b"ToCount: ") + 9, b"0")
@example(PLAIN, FILE.index(b"2821.8") + 4, b"x")
def test_both_ways_to_read_an_envelope_agree(envelope: Envelope, at: int, octets: bytes) -> None:
    try:
        file = write(envelope)
    except ValueError:
        return
    for changed in (file, file[:at] + octets + file[at:], file[:at] + octets + file[at + 1 :]):
        whole = changed + b"journal\r\n"
        found = _outcome(whole)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(envelope_format, "_as_written", _unknown)
            assert found == _outcome(whole)


def test_usual_envelope_is_not_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(envelope_format, "_lines")
    several = PLAIN._replace(to_remote=(Address("b@y.test"), Address("c@y.test")), utf8=True)
    named = several._replace(client="192.0.2.1", authentication="me+x", message_id="<1@x.test>")
    for envelope in (PLAIN, several, named._replace(body=Body.EIGHT_BIT)):
        assert parse(write(envelope)) == (envelope, b"")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_xtext_is_read_back(text: str) -> None:
    encoded = to_xtext(text)
    assert from_xtext(encoded) == text
    assert encoded.isascii()
    assert not set(encoded) & set(" =\r\n\t\x7f")


@pytest.mark.parametrize("text", ["a+", "a+2", "a+2b", "a+GG", "a b", "a=b", "ü", "+FF"])
def test_text_that_is_no_xtext_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        from_xtext(text)


def test_plain_text_of_another_program_is_taken_as_it_stands() -> None:
    octets = FILE.replace(b"ForwardTo: ", b"ForwardTo: a=b.test", 1)
    assert parse(octets).envelope.forward_to == "a=b.test"
