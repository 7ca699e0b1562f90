"""Commands as the log shows them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay_receiver.dialogue.redaction import MASK, UNKNOWN, command_word, redacted


@pytest.mark.parametrize(
    ("line", "text", "first"),
    [
        (b"MAIL FROM:<a@b> SIZE=1", "MAIL FROM:<a@b> SIZE=1", "MAIL"),
        (b"noop", "noop", "NOOP"),
        (b"AUTH", "AUTH", "AUTH"),
        (b"AUTH login", "AUTH login", "AUTH"),
        (b"AUTH PLAIN abc", "AUTH PLAIN ***", "AUTH"),
        (b"auth PLAIN abc def", "auth PLAIN ***", "AUTH"),
        (b"AUTH abc", "AUTH ***", "AUTH"),
        (b"GET /secret HTTP/1.1", "GET ***", "GET"),
        (b"PASS secret", "PASS ***", "PASS"),
        (b"secret", MASK, UNKNOWN),
        (b"", MASK, UNKNOWN),
        (b"\xff\xfe", MASK, UNKNOWN),
    ],
)
def test_what_may_be_a_secret_is_not_shown(line: bytes, text: str, first: str) -> None:
    assert redacted(line) == text
    assert command_word(line) == first


@given(st.binary(min_size=6).map(base64.b64encode))
def test_no_base64_is_shown(secret: bytes) -> None:
    for line in (secret, b" " + secret, b"AUTH " + secret, b"AUTH PLAIN " + secret):
        assert secret.decode() not in redacted(line)
        assert secret.decode()[:8].upper() not in command_word(line)
