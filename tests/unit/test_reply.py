"""Replies are one safe line, and their first digit decides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.reply import LONGEST_TEXT, Reply, one_line

# Any code point, halves of surrogate pairs too: peers' octets are decoded with them.
ANY_TEXT = st.text(st.characters(), max_size=800)


@given(ANY_TEXT)
def test_one_line_is_one_printable_bounded_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert len(line.encode()) <= LONGEST_TEXT
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    assert one_line(line) == line


@given(st.integers(200, 599), ANY_TEXT)
def test_reply_survives_being_written_and_read(code: int, text: str) -> None:
    reply = Reply.of(code, text)
    assert Reply.parse(str(reply)) == reply


@pytest.mark.parametrize(
    ("line", "code", "text"),
    [
        ("250 2.0.0 ok", 250, "2.0.0 ok"),
        ("250", 250, ""),
        ("550\t no", 550, "no"),
        ("451 two\r\nlines", 451, "two lines"),
        ("452 a\u2028b\x85c\x00d", 452, "a b c d"),
    ],
)
def test_reply_is_read(line: str, code: int, text: str) -> None:
    assert Reply.parse(line) == Reply(code, text)


@pytest.mark.parametrize("line", ["", "ok", "25", "2x0 ok", "150 x", "600 x", " 250 ok", "5501 x"])
def test_line_without_a_code_is_no_reply(line: str) -> None:
    with pytest.raises(ValueError, match=r"^"):
        Reply.parse(line)


@pytest.mark.parametrize(
    ("code", "accepted", "permanent"),
    [
        (199, False, False),
        (200, True, False),
        (250, True, False),
        (299, True, False),
        (354, False, False),
        (421, False, False),
        (499, False, False),
        (500, False, True),
        (599, False, True),
    ],
)
def test_first_digit_decides(code: int, accepted: bool, permanent: bool) -> None:  # noqa: FBT001 - a table
    reply = Reply(code, "")
    assert (reply.accepted, reply.permanent) == (accepted, permanent)
