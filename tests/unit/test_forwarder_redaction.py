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


def test_forms_that_overlap_are_hidden_whole() -> None:
    # The plain form stands at the beginning of base64 of another secret.
    redaction = Redaction()
    redaction.hide(b"Y29ycmVjdA")
    redaction.hide(b"correct horse")
    text = f"no: x{b64encode(b'correct horse').decode()}, go"
    assert redaction(text) == f"no: {HIDDEN}, go"


@pytest.mark.timeout(100, method="thread")  # a signal does not interrupt a regular expression
@pytest.mark.parametrize("end", ["", b64encode(b"correct horse").decode()])
def test_a_long_run_of_base64_takes_linear_time(end: str) -> None:
    run = "A" * (1 << 22)  # in quadratic time, this would take hours
    assert redacted("correct horse", f"{run} {end}") == f"{run} {end and HIDDEN}"
