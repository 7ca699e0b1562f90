"""What emailrelay-submit reads and writes: command line, line ends, header, addresses."""

import email
import io
import re
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.submit import addresses, message
from emailrelay.submit.arguments import Arguments, Personality, UsageError, parse
from emailrelay.submit.message import DataError, Header, Origin

ORIGIN = Origin(
    id="1.2.3", host="h.test", user="ann", full_name='Ann "A" B', uid=7, now=1_700_000_000.0
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
        (["-f", "a@x"], Arguments(sender="a@x")),
        (["-fa@x"], Arguments(sender="a@x")),
        (["-f", ""], Arguments(sender="")),
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
        (["-bp"], Arguments(personality=Personality.MAILQ)),
        (["-bi"], Arguments(personality=Personality.NEWALIASES)),
        (["-bs"], Arguments(personality=Personality.SESSION)),
    ],
)
def test_options_of_sendmail_are_understood(words: list[str], expected: Arguments) -> None:
    assert parse("sendmail", words) == expected


def test_name_of_the_command_says_what_to_do() -> None:
    assert parse("mailq", []).personality is Personality.MAILQ
    assert parse("newaliases", []).personality is Personality.NEWALIASES


@pytest.mark.parametrize(
    "words",
    [["-f"], ["--bogus"], ["-bd"], ["--port", "0"], ["--port", "x"], ["-Z"], ["--spool-dir="]],
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
    header, _ = header_of(b'To: "Doe, J" <j@x.test>,\n k@x.test\nCc: root\nBcc: hidden@x.test\n\n')
    lists = header.recipient_values()
    assert addresses.recipients([], lists, "h.test") == (
        "j@x.test",
        "k@x.test",
        "root@h.test",
        "hidden@x.test",
    )
    assert not header.without(b"bcc").has(b"bcc")


def test_resent_message_goes_to_those_it_is_resent_to() -> None:
    header, _ = header_of(b"To: old@x.test\nResent-To: new@x.test\n\n")
    assert header.recipient_values() == ["new@x.test"]


@pytest.mark.parametrize("text", ["a b@x", "a@x\nRCPT", "a<b@x", "a\0@x"])
def test_address_that_could_break_out_of_its_line_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        addresses.qualified(text, "h.test")


def test_message_for_nobody_is_refused() -> None:
    with pytest.raises(DataError, match="no recipients"):
        addresses.recipients([], ["undisclosed-recipients:;"], "h.test")
