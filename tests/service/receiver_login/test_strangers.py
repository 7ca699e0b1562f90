"""Clients without a login, and senders bound to users and networks."""

from pathlib import Path

import pytest
from tests.fakes.certificates import Certificates, make_certificates
from tests.service.receiver_login.users import PASSWORD, greeted, plain, settings, write
from tests.service.receiving import Running, receiving
from tests.service.receiving_tls import client_context, encrypted

from emailrelay.client_source import is_local
from emailrelay.config import ReceiverSettings


@pytest.fixture(name="files", scope="session")
def make_files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


def _nobody_is_local(_: str) -> bool:
    return False


async def test_a_client_in_a_trusted_network_needs_no_login(secrets: Path) -> None:
    write(secrets, "server none 127.0.0.1 here\n")
    async with receiving(settings(secrets)) as running, running.client() as peer:
        assert "AUTH" not in await greeted(peer)
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")


async def test_a_stranger_gets_in_to_log_in_and_is_offered_nothing_in_clear(
    secrets: Path, files: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emailrelay_receiver.session.arrival.is_local", _nobody_is_local)
    assert is_local("127.0.0.1")
    both = {"server_tls": True, "server_tls_certificate": str(files.server)}
    async with receiving(settings(secrets, **both)) as running:
        async with running.client() as peer:
            assert "AUTH" not in await greeted(peer)
            for command in ("MAIL FROM:<a@b>", "VRFY r@y"):
                assert (await peer.ask(command)).startswith("530 5.7.0 ")
            said = "AUTH PLAIN " + plain("alice", PASSWORD)
            assert (await peer.ask(said)).startswith("538 5.7.11 ")
        async with encrypted(running, client_context(files)) as peer:
            assert "AUTH PLAIN LOGIN CRAM-MD5" in await peer.ask("EHLO c")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530")
            assert (await peer.ask(said)).startswith("235")
            assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")
    async with (
        receiving(settings(secrets, server_auth_config="m:cram-md5", **both)) as running,
        running.client() as peer,
    ):
        assert "AUTH CRAM-MD5\n" in await greeted(peer)


async def test_without_secrets_a_stranger_is_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emailrelay_receiver.session.arrival.is_local", _nobody_is_local)
    async with receiving() as running, running.client() as peer:
        assert (await peer.reply()).startswith("554 5.7.1")


async def test_a_changed_secrets_file_counts_at_once_and_a_broken_one_does_not(
    secrets: Path,
) -> None:
    async def tries(running: Running, password: str) -> str:
        async with running.client() as peer:
            await greeted(peer)
            return (await peer.ask("AUTH PLAIN " + plain("bob", password)))[:3]

    async with receiving(settings(secrets)) as running:
        running.context.login_pause = 0.0
        assert await tries(running, PASSWORD) == "235"
        write(secrets, "server plain bob new\n")
        assert [await tries(running, p) for p in (PASSWORD, "new")] == ["535", "235"]
        write(secrets, "nonsense\n")
        assert await tries(running, "new") == "235"
        assert "SecretsTrouble" in str(running.events)


async def test_senders_are_bound_to_users(secrets: Path) -> None:
    rules = [
        {"name": "alice", "user": ["alice"], "sender": ["alice@x.test", "*@lists.test"]},
        {"name": "others", "user": ["*"], "sender": ["*@x.test"]},
    ]
    async with receiving(settings(secrets, allow=rules)) as running:
        for user, sender, expected in (
            ("alice", "Alice@X.test", "250"),
            ("alice", "a@lists.test", "250"),
            ("alice", "bob@x.test", "553"),
            ("alice", "", "250"),
            ("bob", "bob@x.test", "250"),
            ("bob", "bob@y.test", "553"),
        ):
            async with running.client() as peer:
                await greeted(peer)
                await peer.ask("AUTH PLAIN " + plain(user, PASSWORD))
                assert (await peer.ask(f"MAIL FROM:<{sender}>")).startswith(expected)


async def test_senders_are_bound_to_networks() -> None:
    rules = [
        {"name": "elsewhere", "network": ["192.0.2.0/24"], "sender": ["*"]},
        {"name": "here", "network": ["127.0.0.0/8", "::1"], "sender": ["*@x.test"]},
    ]
    given = ReceiverSettings.model_validate({"domain": "relay.test", "allow": rules})
    async with receiving(given) as running, running.client() as peer:
        await greeted(peer)
        assert (await peer.ask("MAIL FROM:<bob@y.test>")).startswith("553 5.7.1 ")
        assert (await peer.ask("MAIL FROM:<bob@x.test>")).startswith("250 ")


async def test_a_login_in_clear_does_not_count_behind_starttls(
    secrets: Path, files: Certificates
) -> None:
    # RFC 3207 section 4.2
    both = {"server_tls": True, "server_tls_certificate": str(files.server)}
    said = "AUTH PLAIN " + plain("alice", PASSWORD)
    async with receiving(settings(secrets, **both)) as running, running.client() as peer:
        await greeted(peer)
        assert (await peer.ask(said)).startswith("235")
        assert (await peer.ask("STARTTLS")).startswith("220")
        await peer.writer.start_tls(client_context(files), server_hostname="127.0.0.1")
        peer.reader._transport = peer.writer.transport  # type: ignore[attr-defined] # asyncio of 3.11 forgets it
        assert "AUTH PLAIN" in await peer.ask("EHLO c")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("530")
        assert (await peer.ask(said)).startswith("235")
        assert (await peer.ask("MAIL FROM:<a@b>")).startswith("250")
