"""The server's own words in a reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.reply import LONGEST_TEXT, Reply
from emailrelay_forwarder.session.reply_words import own_words

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


@given(st.text(max_size=LONGEST_TEXT), st.text(max_size=80))
def test_any_text_and_address_are_read(text: str, address: str) -> None:
    own_words(Reply(450, text), address)
