"""Proxies in front of the console: which of them are believed, and what a start refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request

from emailrelay.config import ConsoleSettings
from emailrelay_console.check import cautions, startable
from emailrelay_console.web.proxy import client_of, named_user

HEADER, PROXY, HERE = "X-Remote-User", "192.0.2.7", "127.0.0.1"


@pytest.fixture
def auth(tmp_path: Path) -> Path:
    path = tmp_path / "console.auth"
    path.write_text("server plain ann secret operator\n")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("interfaces", "proxies", "safe"),
    [
        ([HERE], [HERE], False),
        (["/run/console", "192.0.2.1"], ["::1"], False),
        ([""], ["0.0.0.0/0"], False),
        ([], ["127.0.0.2"], False),
        ([HERE], [PROXY], True),
        ([HERE], [], True),
        (["/run/console"], [HERE], True),
        (["fd#3"], [HERE], True),
    ],
)
def test_a_proxy_on_this_host_names_users_through_a_unix_socket_only(
    auth: Path, interfaces: list[str], proxies: list[str], *, safe: bool
) -> None:
    given: dict[str, Any] = {"console_interface": interfaces, "console_proxies": proxies}
    named = ConsoleSettings(console_auth=auth, console_user_header=HEADER, **given)
    found = [*startable(named)]
    assert [each.setting for each in found] == ([] if safe else ["console_user_header"])
    assert all("unix socket" in each.text for each in found)
    assert not [*startable(ConsoleSettings(console_auth=auth, **given))]


@pytest.mark.parametrize(
    ("client", "server", "user", "shown"),
    [
        ((PROXY, 4000), ("192.0.2.1", 9926), "ann", "198.51.100.1"),
        (("198.51.100.9", 4000), ("192.0.2.1", 9926), None, "198.51.100.9"),
        ((HERE, 4000), (HERE, 9926), None, "198.51.100.1"),
        (None, ("/run/console", None), "ann", "198.51.100.1"),
        (None, None, "ann", "198.51.100.1"),
        # A TCP client that has gone: the system does not tell its address any more.
        (None, ("192.0.2.1", 9926), None, "unknown"),
    ],
)
def test_only_a_proxy_is_believed(
    client: tuple[str, int] | None,
    server: tuple[str, int | None] | None,
    user: str | None,
    shown: str,
) -> None:
    settings = ConsoleSettings(console_user_header=HEADER, console_proxies=[PROXY, HERE])
    console = SimpleNamespace(settings=settings)
    headers = [(b"x-remote-user", b"ann"), (b"x-forwarded-for", b"198.51.100.1")]
    scope = {"type": "http", "headers": headers, "client": client, "server": server}
    app = SimpleNamespace(state=SimpleNamespace(console=console))
    request = Request({**scope, "app": app})
    assert (named_user(request), client_of(request)) == (user, shown)


@pytest.mark.parametrize(
    ("values", "number"),
    [
        ({}, 0),
        ({"console_url": "https://mail.example.com"}, 1),
        ({"console_url": "https://mail.example.com", "console_proxies": [HERE]}, 0),
        ({"console_url": "https://mail.example.com", "console_interface": ["/run/console"]}, 0),
    ],
)
def test_browsers_that_all_count_as_one_address_are_warned_of(
    values: dict[str, Any], number: int
) -> None:
    found = [each.setting for each in cautions(ConsoleSettings(**values))]
    assert found == ["console_proxies"] * number
