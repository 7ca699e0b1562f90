"""Secrets that a server repeats are removed from its replies."""

from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.envelope_format import to_xtext
from emailrelay_forwarder.session.redaction import HIDDEN, Redaction

WORDS = st.text(
    st.characters(min_codepoint=32, codec="utf-8", exclude_categories=["Z", "C"]), min_size=4
)


def redacted(secret: str, text: str) -> str:
    redaction = Redaction()
    redaction.hide(secret.encode())
    return redaction(text)


@given(WORDS, st.binary(max_size=9), st.binary(max_size=9))
def test_secret_is_hidden_in_every_form(secret: str, before: bytes, after: bytes) -> None:
    forms = [secret, to_xtext(secret), quote(secret, safe="")]
    forms.append(b64encode(before + secret.encode() + after).decode())
    for form in forms:
        assert redacted(secret, f"535 no: |{form}|, go") == f"535 no: |{HIDDEN}|, go"


def test_short_secret_is_hidden_as_a_word_only() -> None:
    assert redacted("go", "535 go is gone, go") == f"535 {HIDDEN} is gone, {HIDDEN}"
    assert redacted("5", "550 5.1.1 no such user") == "550 5.1.1 no such user"


@pytest.mark.parametrize("text", ["535 5.7.8 not you", "250 SIZE 1000", "alice@example.com: no"])
def test_other_text_stands(text: str) -> None:
    assert redacted("correct horse", text) == text
    assert redacted("x", text) == text
    assert redacted("", text) == text
    assert Redaction()(text) == text
