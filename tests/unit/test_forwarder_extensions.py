"""The extensions in an EHLO reply, in all spellings of servers."""

import pytest

from emailrelay.secrets import Mechanism
from emailrelay_forwarder.session.extensions import extensions_of, largest_message
from emailrelay_forwarder.session.sign_in import offered


@pytest.mark.parametrize(
    "lines",
    [
        "AUTH LOGIN PLAIN",
        "AUTH LOGIN PLAIN\nAUTH=LOGIN",
        "AUTH=LOGIN\nAUTH PLAIN",
        "auth=login plain",
        "Auth\tPLAIN,LOGIN",
        "AUTH = PLAIN LOGIN",
        "AUTH\nAUTH LOGIN\nAUTH PLAIN",
    ],
)
def test_mechanisms_of_every_auth_line_are_offered(lines: str) -> None:
    mechanisms = offered(extensions_of(f"peer.test\n{lines}\nHELP"))
    assert set(mechanisms) == {Mechanism.LOGIN, Mechanism.PLAIN}


@pytest.mark.parametrize(
    ("lines", "limit"),
    [
        ("SIZE 1000", 1000),
        ("size 1000", 1000),
        ("SIZE=1000", 1000),
        ("SIZE", None),
        ("SIZE 0", None),
        ("SIZE 10M", None),
        ("SIZE -1", None),
        ("SIZE ²", None),
        ("SIZE 1000\nSIZE 2000", 2000),
        ("SIZE\nSIZE 2000", 2000),
        ("SIZE 0\nSIZE 2000", None),
        ("SIZE 99999999999999999999999999", 99999999999999999999),
        ("HELP", None),
    ],
)
def test_no_mail_fails_by_a_limit_that_is_not_clear(lines: str, limit: int | None) -> None:
    assert largest_message(extensions_of(f"peer.test\n{lines}")) == limit


def test_the_servers_name_is_no_extension() -> None:
    assert extensions_of("STARTTLS\n8BITMIME\n\n  dsn  \n=\nX-ODD=a b") == {
        "8bitmime": "",
        "dsn": "",
        "x-odd": "a b",
    }
