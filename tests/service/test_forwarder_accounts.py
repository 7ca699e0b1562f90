"""Accounts and servers: no envelope can make the forwarder send a password to another server."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fakes.secure_peer import SecurePeer
from tests.service.certificates import Authority
from tests.service.forwarding import Office

from emailrelay.config import ForwarderSettings, read
from emailrelay.events.accounts import SignInRefused
from emailrelay.oauth.bearer import Bearer
from emailrelay.settlement import Defer, Done, Settlement
from emailrelay.store.spool.tokens import SpoolTokens
from emailrelay_forwarder.settings.policy_settings import sessions_of

SECRETS = "client plain alice a-secret\nclient plain bob b-secret second\nclient plain:b = = none\n"
PASSWORDS = {"alice": "a-secret", "bob": "b-secret", "carol": "c-secret"}


@dataclass(slots=True)
class Scene:
    """Three servers whose certificates are all good, and a relay that has accounts."""

    folder: Path
    authority: Authority
    own: SecurePeer
    """The server of ``forward_to``."""
    other: SecurePeer
    """The server of the route ``other``, with the account ``second``."""
    stranger: SecurePeer
    """A server that no setting names."""

    async def send(
        self, *more: str, to: str = "to@there.test", server: str = "", account: str = ""
    ) -> tuple[Settlement, Office]:
        """Send one message. ``more`` are flags; ``server`` and ``account`` go into its envelope."""
        settings = self.settings(*more)
        bearer = Bearer(settings.account, SpoolTokens(str(self.folder)), report=lambda _event: None)
        office = Office(
            "", sessions_of(settings, lambda _event: None, bearer), routes=settings.routes
        )
        message = await office.put(to, forward_to_address=server, account_selector=account)
        settlement = await office.forward(message)
        await office.forwarding.close()
        await bearer.close()
        return settlement, office

    def settings(self, *more: str) -> ForwarderSettings:
        secrets, password = self.folder / "secrets", self.folder / "carol"
        for path, text in ((secrets, SECRETS), (password, "c-secret\n")):
            path.write_text(text)
            path.chmod(0o600)
        config = self.folder / "relay.toml"
        config.write_text(
            f'forward_to = "{self.own.address}"\nclient_auth = "{secrets}"\n'
            f'client_tls_verify = "{self.authority.path}"\n'
            '[[route]]\nname = "other"\nrecipient = ["other.test"]\naccount = "second"\n'
            f'smarthosts = ["{self.other.address}"]\n'
            f'[[account]]\nname = "table"\nuser = "carol"\npassword_file = "{password}"\n'
            f'servers = ["{self.other.address}"]\n'
        )
        return read(ForwarderSettings, ["--config", str(config), *more], {})


@asynccontextmanager
async def _scene(folder: Path) -> AsyncGenerator[Scene]:
    authority = Authority(folder)
    async with AsyncExitStack() as stack:
        peers = [
            await stack.enter_async_context(
                SecurePeer(authority.context(), offers=("AUTH PLAIN",), passwords=PASSWORDS)
            )
            for _ in range(3)
        ]
        yield Scene(folder, authority, *peers)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncGenerator[Scene]:
    async with _scene(tmp_path) as scene:
        yield scene


def why(settlement: Settlement) -> str:
    assert isinstance(settlement, Defer)
    return str(settlement.attempt.trouble)


@pytest.mark.parametrize("account", ["", "second", "table"])
async def test_no_account_is_used_at_a_server_that_only_the_envelope_names(
    scene: Scene, account: str
) -> None:
    settlement, office = await scene.send(server=scene.stranger.address, account=account)
    assert scene.stranger.connections == 0
    assert f"is not for {scene.stranger.address}, so it was not used there" in why(settlement)
    refused = office.events(SignInRefused)
    assert len(refused) == 1
    assert account in refused[0].reason


@pytest.mark.parametrize(
    ("to", "account"),
    [
        ("to@there.test", "second"),
        ("to@there.test", "table"),
        ("to@other.test", "no-such"),
    ],
)
async def test_no_account_is_used_at_a_configured_server_of_another_account(
    scene: Scene, to: str, account: str
) -> None:
    settlement, _ = await scene.send(to=to, account=account)
    assert isinstance(settlement, Defer)
    assert scene.own.signed_in == scene.other.signed_in == []
    assert not [line for line in scene.own.lines + scene.other.lines if line.startswith("AUTH")]


async def test_accounts_are_used_at_their_own_servers(scene: Scene) -> None:
    own, other = scene.own.address, scene.other.address
    for message in (
        scene.send(),
        scene.send(server=own),
        scene.send(to="to@other.test"),
        scene.send(server=other, account="second"),
        scene.send(server=other, account="table"),
        scene.send(to="to@other.test", account="table"),
    ):
        assert isinstance((await message)[0], Done)
    assert [user for user, _ in scene.own.signed_in] == ["alice", "alice"]
    assert [user for user, _ in scene.other.signed_in] == ["bob", "bob", "carol", "carol"]


async def test_settings_can_give_accounts_further_servers(scene: Scene) -> None:
    further = ("--client-auth-servers", scene.stranger.address)
    for account in ("", "second"):
        settlement, _ = await scene.send(*further, server=scene.stranger.address, account=account)
        assert isinstance(settlement, Done)
    assert [user for user, _ in scene.stranger.signed_in] == ["alice", "bob"]
    settlement, _ = await scene.send(*further, server=scene.stranger.address, account="table")
    assert "servers in its [[account]]" in why(settlement)


async def test_message_that_wants_no_login_goes_to_any_server(scene: Scene) -> None:
    settlement, _ = await scene.send(server=scene.stranger.address, account="none")
    assert isinstance(settlement, Done)
    assert scene.stranger.signed_in == []
