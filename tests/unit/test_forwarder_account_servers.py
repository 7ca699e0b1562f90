"""The servers of an account, by the settings."""

from pathlib import Path

import pytest

from emailrelay.config import ForwarderSettings, read
from emailrelay.errors import ConfigError
from emailrelay_forwarder.session.account_servers import NotForServer, account_servers, place
from emailrelay_forwarder.session.route import parse

SETTINGS = """
forward_to = "smtp.isp.test:587"
client_auth = "/etc/emailrelay/emailrelay.auth"
client_auth_servers = ["extra.test:25"]
[[route]]
name = "bare"
recipient = ["bare.test"]
smarthosts = ["bare.test:25", "/run/lmtp"]
[[route]]
name = "shop"
recipient = ["shop.test"]
smarthosts = ["one.shop.test:587", "two.shop.test:587"]
account = "shop"
[[account]]
name = "table"
user = "carol"
password_file = "/etc/carol"
servers = ["[2001:db8::1]:465"]
[[account]]
name = "idle"
user = "dora"
password_file = "/etc/dora"
"""


def may(folder: Path, account: str, server: str) -> bool:
    path = folder / "relay.toml"
    path.write_text(SETTINGS)
    rule = account_servers(read(ForwarderSettings, ["--config", str(path)], {}))
    try:
        rule.check(account, parse(server))
    except NotForServer:
        return False
    return True


@pytest.mark.parametrize(
    ("account", "server", "fits"),
    [
        ("", "smtp.isp.test:587", True),
        ("", "SMTP.ISP.test.:submission", True),
        ("", "smtp.isp.test:25", False),
        ("", "bare.test:25", True),
        ("", "/run/lmtp", True),
        ("", "/run/lmtp2", False),
        ("", "extra.test:25", True),
        ("", "one.shop.test:587", False),
        ("", "elsewhere.test:587", False),
        ("shop", "one.shop.test:587", True),
        ("shop", "two.shop.test:587", True),
        ("shop", "extra.test:25", True),
        ("shop", "smtp.isp.test:587", False),
        ("unnamed", "smtp.isp.test:587", True),
        ("unnamed", "two.shop.test:587", False),
        ("table", "[2001:DB8:0::1]:465", True),
        ("table", "smtp.isp.test:587", False),
        ("table", "extra.test:25", False),
        ("idle", "smtp.isp.test:587", True),
        ("idle", "bare.test:25", True),
        ("idle", "extra.test:25", False),
    ],
)
def test_account_is_for_the_servers_that_the_settings_join_it_with(
    tmp_path: Path, account: str, server: str, *, fits: bool
) -> None:
    assert may(tmp_path, account, server) is fits


def test_spellings_of_one_server_are_one_place() -> None:
    assert place(parse("a.test:25")) == place(parse("A.TEST.:025")) == place(parse("a.test:smtp"))
    assert place(parse("[::1]:25")) == place(parse("[0:0::1]:25"))
    assert place(parse("127.0.0.1:25")) != place(parse("localhost:25"))


def test_further_servers_want_accounts() -> None:
    with pytest.raises(ConfigError, match="client-auth"):
        read(ForwarderSettings, ["--forward-to", "a:1", "--client-auth-servers", "b:2"], {})
