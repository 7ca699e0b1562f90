"""Text from mail and servers cannot control a terminal, and hides nothing on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, as it is", "plain text, as it is"),
        ("Grüße 你好 مرحبا", "Grüße 你好 مرحبا"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\n\tb\x7f\0", "a\\x0d\\x0a\\x09b\\x7f\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066a\u2069\u200e\u200f\u061c", "\\u2066a\\u2069\\u200e\\u200f\\u061c"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_obeys_or_hides_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_shown_text_is_printable_and_shown_twice_is_the_same(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert printable(shown) == shown
    shown.encode()  # no surrogate is left
