"""The header of a message, decoded for people."""

from email.header import decode_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.queue import headers
from emailrelay.queue.headers import MOST_FIELDS, field, header_fields


@pytest.mark.parametrize(
    ("content", "subject"),
    [
        (b"Subject: plain\r\n\r\nbody", "plain"),
        (b"subject: =?utf-8?Q?f=C3=BCr_Sie?=\r\n\r\n", "für Sie"),
        (b"Subject: =?iso-8859-1?Q?f=FCr?=\r\n =?utf-8?B?IOadjg==?=\r\n\r\n", "für 李"),
        ("Subject: für 李\r\n\r\n".encode(), "für 李"),
        (b"Subject: f\xfcr\r\n\r\n", "f\\xfcr"),
        (b"Subject: folded\r\n text\r\n\r\n", "folded text"),
        (b"Subject: unix\n\nbody", "unix"),
        (b"Subject: =?utf-8?B?!!!?= =?nowhere?Q?x?=\r\n\r\n", "=?utf-8?B?!!!?= =?nowhere?Q?x?="),
        (b"Subject: =?punycode?Q?hello-?=\r\n\r\n", "=?punycode?Q?hello-?="),  # slow
        (b"Subject: =?utf-8?B?a?=\r\n\r\n", "=?utf-8?B?a?="),  # base64 of impossible length
        (b"no header at all", ""),
        (b"", ""),
        (b"\r\n\r\nSubject: in the body\r\n", ""),
        (b"X: y\r\n\r\nSubject: in the body\r\n", ""),
    ],
)
def test_subject_is_decoded(content: bytes, subject: str) -> None:
    assert field(header_fields(content), "Subject") == subject


def test_header_is_bounded() -> None:
    fields = header_fields(b"".join(b"X-%d: %s\r\n" % (n, b"v" * 5000) for n in range(1000)))
    assert 0 < len(fields) <= MOST_FIELDS
    assert max(len(each.value) for each in fields) == 1000


@pytest.mark.parametrize(
    "value",
    [
        "=?a?q?x" * 9000,
        "=?a?q?x" * 9000 + "?=",
        "=?a?q?x" * 500 + "?=" + "=?a?q?x" * 9000,
        "=?a?q?x" * 500 + "\x0b?=",
        "=?a?q?x?= " * 6000,
    ],
)
def test_the_decoder_gets_little_text_and_each_word_in_it_has_an_end(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its time grows with the square of the text after a word without an end.
    given = list[str]()

    def noted(text: str) -> list[tuple[bytes | str, str | None]]:
        given.append(text)
        return [*decode_header(text)]

    monkeypatch.setattr(headers, "decode_header", noted)
    assert len(header_fields(f"Subject: {value}".encode())) == 1
    assert all(len(text) <= 4000 and text.endswith("?=") for text in given)
    assert all(len(text.splitlines()) == 1 for text in given)


def test_text_after_the_last_encoded_word_stays() -> None:
    fields = header_fields("Subject: =?utf-8?q?f=C3=BCr?= 李 =?".encode())
    assert field(fields, "Subject") == "für 李 =?"


@given(st.binary(max_size=2000))
def test_no_content_is_an_error(content: bytes) -> None:
    for each in header_fields(b"Subject: =?" + content):
        assert len(each.value) <= 1000
