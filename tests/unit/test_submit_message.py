"""The input and output of emailrelay-submit: command line, line ends, header, addresses."""

import email
import io
import re
from email.header import decode_header, make_header
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.dsn_request import NO_REQUEST
from emailrelay.submit import addresses, message
from emailrelay.submit.arguments import Arguments, OperationMode, UsageError, parse
from emailrelay.submit.message import DataError, Header, Origin

ORIGIN = Origin(
    id="1.2.3",
    host="h.test",
    address="ann@h.test",
    full_name='Ann "A" B',
    uid=7,
    now=1_700_000_000.0,
)


def body_of(text: bytes, *, dots_end: bool = False) -> bytes:
    lines = message.lines(io.BytesIO(text), dots_end=dots_end)
    return b"".join(message.body(lines))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-t"], Arguments(from_header=True)),
        (["-i", "a"], Arguments(dots_end=False, recipients=("a",))),
        (["-oi", "-oem", "-odi"], Arguments(dots_end=False)),
        (["-ti"], Arguments(from_header=True, dots_end=False)),
        (["-itf", "a@x"], Arguments(from_header=True, dots_end=False, sender="a@x")),
        (
            ["-itfa@x", "b"],
            Arguments(from_header=True, dots_end=False, sender="a@x", recipients=("b",)),
        ),
        (["-toi", "a"], Arguments(from_header=True, dots_end=False, recipients=("a",))),
        (["-vbs"], Arguments(mode=OperationMode.SESSION, verbose=True)),
        (
            ["-em", "-e", "q", "-Am", "-c", "-x", "-icn", "a"],
            Arguments(dots_end=False, recipients=("a",)),
        ),
        (["-I"], Arguments(mode=OperationMode.NEWALIASES)),
        (["-f", "a@x"], Arguments(sender="a@x")),
        (["-fa@x"], Arguments(sender="a@x")),
        (["-f", ""], Arguments(sender="")),
        (["--from", "a@x"], Arguments(sender="a@x")),
        (["--from=a@x"], Arguments(sender="a@x")),
        (["--from", ""], Arguments(sender="")),
        (["--domain", "x.test"], Arguments(domain="x.test")),
        (["-s", "/x"], Arguments(spool_dir="/x")),
        (
            ["-FCronDaemon", "-i", "-B8BITMIME", "-oem", "root"],
            Arguments(full_name="CronDaemon", dots_end=False, recipients=("root",)),
        ),
        (["-N", "failure", "a"], Arguments(recipients=("a",))),
        (["--", "-t"], Arguments(recipients=("-t",))),
        (
            ["--spool-dir", "/x", "--port=2525", "-v"],
            Arguments(spool_dir="/x", port=2525, verbose=True),
        ),
        (["-bp"], Arguments(mode=OperationMode.MAILQ)),
        (["-bi"], Arguments(mode=OperationMode.NEWALIASES)),
        (["-bs"], Arguments(mode=OperationMode.SESSION)),
        (["-q"], Arguments(mode=OperationMode.FLUSH)),
        (["-q30m", "bob@x.test"], Arguments(recipients=("bob@x.test",))),
    ],
)
def test_options_of_sendmail_are_understood(words: list[str], expected: Arguments) -> None:
    assert parse("sendmail", words) == expected


def test_name_of_the_command_says_what_to_do() -> None:
    assert parse("mailq", []).mode is OperationMode.MAILQ
    assert parse("newaliases", []).mode is OperationMode.NEWALIASES


@pytest.mark.parametrize(
    "words",
    [
        ["-f"],
        ["--bogus"],
        ["-bd"],
        ["-bv", "a@x"],
        ["-itf"],
        ["-tZ"],
        ["-e"],
        ["--port", "9" * 5000],
        ["--port", "0"],
        ["--port", "x"],
        ["-Z"],
        ["--spool-dir="],
        ["--from"],
        ["-s"],
    ],
)
def test_unknown_options_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse("emailrelay-submit", words)


@given(st.text(alphabet="a.\r\n", max_size=200))
def test_every_line_end_becomes_crlf_and_nothing_else_changes(text: str) -> None:
    written = body_of(text.encode()).decode()
    assert not re.search(r"\r(?!\n)|(?<!\r)\n", written)
    lines = re.split(r"\r\n|\r|\n", text)
    if not lines[-1]:
        lines.pop()
    assert written == "".join(f"{line}\r\n" for line in lines)


def test_line_end_across_pieces_is_one_line_end() -> None:
    text = (b"x" * 65535 + b"\r\n") * 3
    assert body_of(text) == text


def test_lone_dot_ends_the_message_unless_told_otherwise() -> None:
    assert body_of(b"one\n.\ntwo\n", dots_end=True) == b"one\r\n"
    assert body_of(b"one\n.\ntwo\n") == b"one\r\n.\r\ntwo\r\n"
    assert body_of(b"..\n.x\n", dots_end=True) == b"..\r\n.x\r\n"


def test_dot_inside_a_long_line_does_not_end_the_message() -> None:
    text = b"x" * 65536 + b".\n"
    assert body_of(text, dots_end=True) == text[:-1] + b"\r\n"


def test_nul_is_refused() -> None:
    with pytest.raises(DataError, match="NUL"):
        body_of(b"a\0b")


def header_of(text: bytes) -> tuple[Header, bytes]:
    lines = message.lines(io.BytesIO(text), dots_end=False)
    header, begun = message.take_header(lines)
    return header, b"".join(begun) + b"".join(lines)


def test_header_ends_at_the_blank_line_or_where_no_field_stands() -> None:
    assert header_of(b"A: 1\n b\nC: 2\n\nbody\n") == (
        Header((b"A: 1\r\n b\r\n", b"C: 2\r\n")),
        b"body\n",
    )
    assert header_of(b"A: 1\nno field\n")[1] == b"no field\n"
    assert header_of(b"just text\n") == (Header(()), b"just text\n")
    assert header_of(b"From ann Mon Jan  1\nA: 1\n\n")[0] == Header((b"A: 1\r\n",))


def test_endless_header_is_refused() -> None:
    with pytest.raises(DataError, match="larger"):
        header_of(b"A: 1\n" * 300_000)


def test_what_is_missing_is_added_and_what_is_there_is_kept() -> None:
    bare = Header((b"Subject: x\r\n",)).completed(ORIGIN)
    read = email.message_from_bytes(b"".join(bare.fields), policy=default)
    assert read["Message-ID"] == "<1.2.3@h.test>"
    assert read["From"].addresses[0].addr_spec == "ann@h.test"
    assert read["From"].addresses[0].display_name == 'Ann "A" B'
    assert read["Date"].datetime.timestamp() == 1_700_000_000
    whole = Header((b"DATE: d\r\n", b"from: f\r\n", b"Message-Id: m\r\n"))
    assert whole.completed(ORIGIN).fields[1:] == whole.fields


def test_recipients_come_from_the_header_and_bcc_goes() -> None:
    header, _ = header_of(b'To: "Doe, J" <j@x.test>,\n k@x.test\nCC : root\nBcc: hidden@x.test\n\n')
    fields = header.recipient_fields()
    assert [name for name, _ in fields] == ["To", "CC", "Bcc"]
    expected = ["j@x.test", "k@x.test", "root@h.test", "hidden@x.test"]
    assert list(addresses.recipients([], fields, "h.test")) == expected
    assert not header.without(b"bcc").has(b"bcc")


def test_resent_message_goes_to_those_it_is_resent_to() -> None:
    header, _ = header_of(b"To: old@x.test\nResent-To: new@x.test\nResent-Cc: too@x.test\n\n")
    assert header.recipient_fields() == [
        ("Resent-To", " new@x.test\r\n"),
        ("Resent-Cc", " too@x.test\r\n"),
    ]


def test_message_that_was_resent_before_goes_to_those_of_the_last_resending() -> None:
    header, _ = header_of(
        b"Resent-From: a@x.test\nResent-To: new@x.test\nReceived: by y\nResent-To: old@x.test\n\n"
    )
    assert header.recipient_fields() == [("Resent-To", " new@x.test\r\n")]


@pytest.mark.parametrize("field", ["To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc"])
def test_error_in_an_address_list_names_the_field(field: str) -> None:
    header, _ = header_of(f"{field}: good@x.test, bob smith\n\n".encode())
    with pytest.raises(DataError, match=f"^{field}: 'bob smith': a name without an address"):
        addresses.recipients([], header.recipient_fields(), "h.test")


def test_octets_that_are_not_utf8_are_refused_in_an_address_and_kept_in_a_name() -> None:
    header, _ = header_of(b"To: b\xf6b@x.test\n\n")
    with pytest.raises(DataError, match=r"^To: .*not UTF-8"):
        addresses.recipients([], header.recipient_fields(), "h.test")
    named, _ = header_of(b"To: B\xf6b <bob>\n\n")
    assert list(addresses.recipients([], named.recipient_fields(), "h.test")) == ["bob@h.test"]
    assert addresses.qualified(named, "h.test").fields == (b"To: B\xf6b <bob@h.test>\r\n",)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"From: root (Cron Daemon)", b"From: root@h.test (Cron Daemon)"),
        (b"To: root", b"To: root@h.test"),
        (b"cc: Root <root>,\r\n  a@x, b", b"cc: Root <root@h.test>,\r\n  a@x, b@h.test"),
        (b"Reply-To: (c) a . b (d)", b"Reply-To: (c) a . b@h.test (d)"),
        (b"Sender: <root>", b"Sender: <root@h.test>"),
        (b"Resent-To: staff: ann, bob@x;", b"Resent-To: staff: ann@h.test, bob@x;"),
        (b"From: Cron Daemon", b"From: Cron Daemon"),
        (b"To: undisclosed-recipients:;", b"To: undisclosed-recipients:;"),
        (b"Subject: root", b"Subject: root"),
    ],
)
def test_header_addresses_without_a_domain_get_the_hosts(field: bytes, expected: bytes) -> None:
    header = Header((field + b"\r\n",))
    assert addresses.qualified(header, "h.test").fields == (expected + b"\r\n",)


@pytest.mark.parametrize(
    "name", ["Zoë", "René Müller" * 9, "ünï\t\x00", "李", "\U0001f4e7" * 40, "a\udcf6b", "x" * 3000]
)
def test_added_from_field_is_ascii_and_its_name_reads_as_it_was(name: str) -> None:
    added = Header(()).completed(ORIGIN._replace(full_name=name))
    (field,) = (f for f in added.fields if f.startswith(b"From:"))
    assert field.isascii()
    assert all(len(line) <= 80 for line in field.split(b"\r\n"))
    words, _, address = field.decode().removeprefix("From: ").rpartition(" ")
    shown = re.sub(r"[\x00-\x1f]", " ", name).strip().replace("\udcf6", "\ufffd")
    assert (str(make_header(decode_header(words))), address) == (shown, "<ann@h.test>\r\n")


def test_user_name_that_is_no_atom_is_quoted() -> None:
    assert addresses.local_part("ann.b") == "ann.b"
    local = addresses.local_part("DOM\\ann")
    assert local == r'"DOM\\ann"'
    assert addresses.sender(f"{local}@x", "h.test") == f"{local}@x"


@pytest.mark.parametrize(
    "text",
    [
        "a b@x",
        "a@x\nRCPT",
        "a<b@x",
        "a\0@x",
        "a\x85@x",
        '"a\x01"@x',
        "b\udcf6b@x",
        "-f@x",
        "l" * 257,
    ],
)
def test_address_that_could_break_out_of_its_line_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        addresses.recipients([text], [], "h.test")
    with pytest.raises(DataError):
        addresses.sender(text, "h.test")


def test_argument_may_be_a_list() -> None:
    found = addresses.recipients(["a@x, b", "<c@x>", "a@x"], [], "h.test")
    assert list(found) == ["a@x", "b@h.test", "c@x"]
    assert addresses.named(found) == NO_REQUEST
    with pytest.raises(DataError, match="not one address"):
        addresses.sender("a@x, b@x", "h.test")


@pytest.mark.parametrize("text", ["", "<>", " <> "])
def test_nothing_is_the_null_sender(text: str) -> None:
    assert addresses.sender(text, "h.test") == ""


def test_message_for_nobody_is_refused() -> None:
    with pytest.raises(DataError, match="there is no recipient"):
        addresses.recipients([], [("To", "undisclosed-recipients:;")], "h.test")


def test_long_line_of_a_header_is_one_line() -> None:
    names = ", ".join(f"user{number}@x.test" for number in range(10_000))
    header, body = header_of(f"To: {names}\nSubject: x\n\nbody\n".encode())
    assert len(addresses.recipients([], header.recipient_fields(), "h.test")) == 10_000
    assert header.has(b"subject")
    assert body == b"body\n"


def test_body_without_a_header_may_be_one_long_line() -> None:
    text = b"x" * 3_000_000 + b"\n"
    assert header_of(text) == (Header(()), text)


def test_very_many_names_get_their_domain() -> None:
    header, _ = header_of(b"To: " + b"a," * 100_000 + b"\n\n")
    assert addresses.qualified(header, "h.test").fields[0].count(b"@h.test") == 100_000


def test_more_recipients_than_an_envelope_holds_are_refused() -> None:
    names = [f"u{number}" for number in range(100_001)]
    assert len(addresses.recipients(names[1:], [], "h.test")) == 100_000
    with pytest.raises(DataError, match="100001 recipients, at most 100000 are possible"):
        addresses.recipients(names, [], "h.test")


def test_header_of_very_many_lines_is_read() -> None:
    folded = b"A: 1\n" + b" \n" * 500_000
    header, body = header_of(folded + b"\nbody\n")
    assert len(header.fields) == 1
    assert body == b"body\n"
