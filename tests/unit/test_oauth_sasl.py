"""What is said to a mail server to sign in with a token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emailrelay.oauth.sasl import oauthbearer, refusal, xoauth2

_ISSUED = "vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg=="

_names = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), min_size=1).filter(
    str.isprintable
)


def test_xoauth2_names_user_and_token() -> None:
    said = xoauth2("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg")
    assert said == (
        b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"
    )


def test_oauthbearer_is_the_example_of_rfc_7628_section_4() -> None:
    said = oauthbearer("user@example.com", _ISSUED, host="server.example.com", port=587)
    assert said == (
        b"n,a=user@example.com,\x01host=server.example.com\x01port=587\x01"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==\x01\x01"
    )


@given(_names)
def test_any_name_survives_the_writing_of_a_saslname(user: str) -> None:
    header = oauthbearer(user, _ISSUED, host="h", port=25).split(b"\x01")[0].decode()
    assert header.startswith("n,a=")
    name = header.removeprefix("n,a=").removesuffix(",")
    assert "," not in name
    assert name.replace("=2C", ",").replace("=3D", "=") == user


@pytest.mark.parametrize("user", ["", "a\x01auth=Bearer stolen", "a\0b", "a\nb"])
def test_name_that_would_say_more_than_a_name_is_refused(user: str) -> None:
    for write in (xoauth2, lambda u, t: oauthbearer(u, t, host="h", port=25)):
        with pytest.raises(ValueError, match="user's name"):
            write(user, _ISSUED)


@pytest.mark.parametrize("token", ["", "a\x01b", "a\r\nb", "töken"])
def test_token_that_cannot_be_sent_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token cannot be sent") as caught:
        xoauth2("a@b", token)
    assert not token or token not in str(caught.value)


@pytest.mark.parametrize(
    ("challenge", "said"),
    [
        (b'{"status":"invalid_token","schemes":"bearer","scope":"mail"}', "invalid_token"),
        (b'{"status":400}', "400"),
        (b"[]", "[]"),
        (b"no JSON", "no JSON"),
        (b"\xff" * 1000, "\ufffd" * 200),
        (b"[" * 100_000, "[" * 200),
    ],
)
def test_reason_of_a_refusal_is_told_whatever_its_form(challenge: bytes, said: str) -> None:
    assert refusal(challenge) == said
