"""Patterns: an asterisk and a question mark are wildcards, and a bracket stands for itself."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.queue.pattern import fits_address, fits_reply
from emailrelay.wildcards import fits, glob
from emailrelay_console.mail.page_selection import PageSelection
from emailrelay_console.mail.where_clause import where_clause

LITERAL = "u@[10.0.0.1]"


def sql(text: str, pattern: object) -> bool:
    with sqlite3.connect(":memory:") as database:
        return bool(database.execute("select ? glob ?", (text, pattern)).fetchone()[0])


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [(LITERAL, True), ("*@[10.0.0.?]", True), ("u@[10.0.0.2]", False), ("u@?10.0.0.1]", True)],
)
def test_address_with_a_bracket_is_matched_as_it_stands(pattern: str, *, matches: bool) -> None:
    assert fits_address(pattern, LITERAL) is matches
    assert not fits_address(pattern, "u@1")
    _, values = where_clause(PageSelection(sender=pattern, recipient=pattern), 0.0)
    assert sql(LITERAL, values["sender"]) is matches
    assert sql(f"\nann@x.test\n{LITERAL}\n", values["recipient"]) is matches
    assert not sql("u@1", values["sender"])


def test_reply_with_a_bracket_is_matched_as_it_stands() -> None:
    for pattern in ("host mx[1.2.3.4]", "mx[*] said", "[1.2.3.4]"):
        assert fits_reply(pattern, "host mx[1.2.3.4] said: no")
    assert not fits_reply("mx[1-4]", "mx1")


@given(st.text("a[]*?-!^", max_size=6), st.text("ab[]-!^", max_size=4))
def test_the_database_finds_what_the_rule_finds(pattern: str, text: str) -> None:
    assert sql(text, glob(pattern)) is fits(pattern, text)
    assert fits(text, text)
