"""The server's own words in a reply."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.reply import LONGEST_TEXT, Reply
from emailrelay_forwarder.delivery.recipient_limit import names_limit
from emailrelay_forwarder.server.throttle_replies import for_now, wish_of
from emailrelay_forwarder.session import reply_words
from emailrelay_forwarder.session.reply_words import own_words, own_words_with

RECIPIENT = "daily-quota@rate.limit.example"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4.7.1 <daily-quota@rate.limit.example>: no", "4.7.1 …: no"),
        ("4.7.1 Daily-Quota@RATE.limit.example: no", "4.7.1 …: no"),
        ("the mailbox daily-quota is unknown.", "the mailbox … is unknown."),
        ("mail to rate.limit.example. is denied", "mail to …. is denied"),
        ("<another rate@x.example>... no", "…... no"),
        ("other.rate@x.example, no", "… no"),
        ('"too many rcpts"@x.example no', "… no"),
        ("cut off <daily-quo", "cut off …"),
        ("see https://x.example/daily-quota?rate for more", "see … for more"),
        ("Daily quota exceeded", "Daily quota exceeded"),
        ("daily-quotas rate.limit.example.com", "daily-quotas rate.limit.example.com"),
        ("", ""),
    ],
)
def test_addresses_and_links_are_not_the_servers_words(text: str, words: str) -> None:
    assert own_words(Reply(450, text), RECIPIENT, "") == words


def test_quoted_address_of_the_command_is_found_in_any_form() -> None:
    address = '"a> daily quota"@x.example'
    for form in (f"<{address}>", address, "a> daily quota"):
        assert "quota" not in own_words(Reply(450, f"4.7.1 {form}: no"), address)


def test_name_that_is_a_single_word_stays_in_the_servers_text() -> None:
    reply = Reply(552, "limit of recipients reached for <limit@example.com>")
    assert own_words(reply, "limit@example.com") == "limit of recipients reached for …"


def test_addresses_are_not_looked_for_in_a_reply_about_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def looked_for(_addresses: tuple[str, ...]) -> list[str]:
        raise AssertionError

    monkeypatch.setattr(reply_words, "_parts", looked_for)
    for text in ("5.1.1 <x@y.example>: no such user", "4.7.1 <x@y.example>: greylisted"):
        for code in (450, 550):
            reply = Reply(code, text)
            assert not names_limit(reply, RECIPIENT)
            assert wish_of(for_now(reply, RECIPIENT), RECIPIENT) is None


@given(st.text(max_size=LONGEST_TEXT), st.text(max_size=80))
def test_any_text_and_address_are_read(text: str, address: str) -> None:
    own_words(Reply(450, text), address)


WORDS = re.compile(r"too many|\brate\b|(?:limit|maximum)\b.*\b(?:reached|exceeded)")


PIECES = (
    *("too", "many", "rate", "limit", "reached", "x", " ", "  "),
    *("a.b@c.d", "a.b", "c.d", "<", ">", '"', "@", "-", ".", "://"),
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.sampled_from(["", "a.b@c.d", "rate.limit@c.d", '"too many"@c.d']),
)
def test_quick_look_misses_none_of_the_servers_words(text: str, address: str) -> None:
    words = own_words(Reply(450, text), address)
    expected = words if WORDS.search(words) else ""
    assert own_words_with(WORDS, Reply(450, text), address) == expected
